use std::fs::{self, File};
use std::path::Path;

use super::{Error, Reference, Store};

/// Where the guest image carries archives of images that work at once.
pub(crate) const BUILTIN_IMAGES: &str = "/usr/share/wherry/images";

impl Store {
    /// Loads the built-in image of this name, if there is one: `hello` is in
    /// `hello.tar`. Returns whether it is there now.
    pub(super) fn load_builtin(&self, name: &str) -> Result<bool, Error> {
        self.load_builtin_from(Path::new(BUILTIN_IMAGES), name)
    }

    pub(super) fn load_builtin_from(&self, directory: &Path, name: &str) -> Result<bool, Error> {
        let Ok(reference) = name.parse::<Reference>() else {
            return Ok(false);
        };
        // The grammar leaves no way out of the directory: without a slash a
        // familiar name is one component.
        let familiar = reference.familiar();
        let Some(stem) = familiar
            .strip_suffix(":latest")
            .filter(|stem| !stem.contains(['/', ':', '@']))
        else {
            return Ok(false);
        };
        let path = directory.join(format!("{stem}.tar"));
        if !fs::metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
            return Ok(false);
        }
        let file = File::open(&path).map_err(|error| Error::path("opening", &path, error))?;
        let loaded = self.load(file, &mut |_| {})?;
        Ok(loaded
            .iter()
            .any(|record| record.names.contains(&reference.to_string())))
    }
}
