//! Volumes on their way to the guest: one that stands for a folder of the host is
//! told where the guest sees that.

use std::path::Path;

use tonic::{Request, Response, Status};
use wherry_proto::v1::volumes_client::VolumesClient;
use wherry_proto::v1::{CreateVolumeRequest, Volume};

use super::machine::MachineLink;
use super::shares;

/// Sends a call to make a volume to the guest.
pub(crate) async fn create(
    link: &MachineLink,
    mut request: Request<CreateVolumeRequest>,
) -> Result<Response<Volume>, Status> {
    let guest = link.guest().await?;
    let wanted = request.get_mut();
    wanted.bind_source.clear();
    if is_bind(wanted) {
        let shared: Vec<_> = link.status().await?.shares.iter().map(Into::into).collect();
        let device = wanted.options.get("device").cloned().unwrap_or_default();
        wanted.bind_source = shares::guest_path(Path::new(&device), &shared, &link.home().config())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
    }
    VolumesClient::new(guest).create(request).await
}

/// Tells whether a volume is a folder of the host, as Docker's driver "local" has it.
fn is_bind(wanted: &CreateVolumeRequest) -> bool {
    let option = |key: &str| wanted.options.get(key).map_or("", String::as_str);
    let mut words = option("o").split(',');
    matches!(option("type"), "" | "none" | "bind")
        && words.any(|word| matches!(word, "bind" | "rbind"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bind_names_a_folder_of_the_host() {
        let with = |options: &[(&str, &str)]| CreateVolumeRequest {
            options: options
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            ..CreateVolumeRequest::default()
        };
        assert!(is_bind(&with(&[
            ("type", "none"),
            ("o", "bind"),
            ("device", "/x")
        ])));
        assert!(is_bind(&with(&[("o", "rw,rbind"), ("device", "/x")])));
        assert!(!is_bind(&with(&[("type", "tmpfs"), ("device", "tmpfs")])));
        assert!(!is_bind(&with(&[])));
    }
}
