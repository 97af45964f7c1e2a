//! Which containers there are, by id, id prefix and name.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Container;
use super::error::Error;
use super::name;

/// The containers and their names.
#[derive(Default)]
pub(super) struct Registry {
    by_id: BTreeMap<String, Arc<Container>>,
    /// The id of each name's owner. A name is taken before its container stands.
    names: HashMap<String, String>,
}

impl Registry {
    /// Finds a container by id, name or unambiguous id prefix, in this order.
    pub(super) fn find(&self, reference: &str) -> Result<Arc<Container>, Error> {
        let not_found = || Error::NotFound(reference.to_owned());
        let name = reference.strip_prefix('/').unwrap_or(reference);
        let id = self.names.get(name).map_or(reference, String::as_str);
        if let Some(container) = self.by_id.get(id).or_else(|| self.by_id.get(reference)) {
            return Ok(container.clone());
        }
        if reference.is_empty() {
            return Err(not_found());
        }
        let mut matching = self
            .by_id
            .range(reference.to_owned()..)
            .take_while(|(id, _)| id.starts_with(reference));
        let (_, container) = matching.next().ok_or_else(not_found)?;
        match matching.next() {
            Some(_) => Err(Error::Ambiguous(reference.to_owned())),
            None => Ok(container.clone()),
        }
    }

    /// Takes a name for a container, or finds a free one where it is empty.
    pub(super) fn take_name(&mut self, wanted: &str, id: &str) -> Result<String, Error> {
        if !wanted.is_empty() {
            if let Some(owner) = self.names.get(wanted) {
                return Err(Error::NameTaken {
                    name: wanted.to_owned(),
                    owner: owner.clone(),
                });
            }
            self.names.insert(wanted.to_owned(), id.to_owned());
            return Ok(wanted.to_owned());
        }
        for attempt in 0.. {
            let name = name::random_name(attempt)
                .map_err(|error| Error::io("making up a container's name", error))?;
            if !self.names.contains_key(&name) {
                self.names.insert(name.clone(), id.to_owned());
                return Ok(name);
            }
        }
        Err(Error::Internal(
            "no name is left for the container: give it one".to_owned(),
        ))
    }

    /// Gives a name back.
    pub(super) fn free_name(&mut self, name: &str, id: &str) {
        if self.names.get(name).is_some_and(|owner| owner == id) {
            self.names.remove(name);
        }
    }

    /// Adds a container whose name is taken.
    pub(super) fn insert(&mut self, container: Arc<Container>) {
        self.by_id.insert(container.id.clone(), container);
    }

    /// Removes a container and frees its name.
    pub(super) fn remove(&mut self, id: &str) {
        self.by_id.remove(id);
        self.names.retain(|_, owner| owner != id);
    }

    /// Returns every container.
    pub(super) fn all(&self) -> Vec<Arc<Container>> {
        self.by_id.values().cloned().collect()
    }
}
