//! macOS and Windows hand out a binary table, which `route_manager` reads.

use route_manager::RouteManager;

use super::Route;

/// A table that changes while it is copied cannot always be read.
const ATTEMPTS: usize = 3;

/// Returns the routes that carry packets; none where the table cannot be read.
pub(super) fn routes() -> Vec<Route> {
    for _ in 0..ATTEMPTS {
        match RouteManager::new().and_then(|mut routes| routes.list()) {
            Ok(routes) => return routes.iter().filter_map(carrying).collect(),
            Err(error) => tracing::debug!(%error, "cannot read the host's routes"),
        }
    }
    Vec::new()
}

fn carrying(route: &route_manager::Route) -> Option<Route> {
    #[cfg(target_os = "macos")]
    if route.kind() != route_manager::RouteKind::Unicast {
        return None;
    }
    Some(Route {
        destination: route.destination(),
        length: route.prefix(),
    })
}
