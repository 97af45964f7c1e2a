//! Giving a container another name.

use super::error::Error;
use super::network::{names, network_error};
use super::{Containers, name};

impl Containers {
    /// Gives a container another name, to which a running one answers on its
    /// networks at once.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a name that is none, [`Error::NameTaken`].
    pub(crate) fn rename(&self, reference: &str, wanted: &str) -> Result<(), Error> {
        let container = self.find(reference)?;
        let wanted = wanted.strip_prefix('/').unwrap_or(wanted);
        if !name::is_valid(wanted) {
            return Err(Error::Invalid(format!(
                "Invalid container name ({wanted}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            )));
        }
        let old = container.name();
        if wanted == old {
            return Err(Error::Invalid(
                "Renaming a container with the same name as its current name".to_owned(),
            ));
        }
        self.registry().take_name(wanted, &container.id)?;
        let renamed = container.update(|record| {
            wanted.clone_into(&mut record.name);
            wanted.clone_into(&mut record.spec.name);
        });
        let free = if renamed.is_ok() {
            &old
        } else {
            let mut cell = container.cell();
            cell.record.name.clone_from(&old);
            cell.record.spec.name.clone_from(&old);
            wanted
        };
        self.registry().free_name(free, &container.id);
        renamed?;
        self.network
            .rename(&container.id, &names(&container.record()))
            .map_err(network_error)?;
        self.publish(&container, "rename", &[("oldName", format!("/{old}"))]);
        Ok(())
    }
}
