//! The data that the VMs of a proxy share, as hosts keep it: each write has a version.

use mesh_jwt::jwks::Written;
use std::collections::BTreeMap;

/// What stands there, by name.
#[derive(Default)]
pub(crate) struct SharedStore(BTreeMap<String, (Vec<u8>, u32)>);

impl SharedStore {
    pub(crate) fn read(&self, name: &str) -> (Option<Vec<u8>>, u32) {
        self.0.get(name).map_or((None, 0), |(bytes, version)| (Some(bytes.clone()), *version))
    }

    /// The names of all entries.
    #[allow(dead_code, reason = "not every test that includes this file looks")]
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        self.0.keys().cloned()
    }

    /// Writes only in place of this version.
    pub(crate) fn write(&mut self, name: &str, bytes: &[u8], version: u32) -> Written {
        if self.read(name).1 != version {
            return Written::Contended;
        }
        self.0.insert(name.to_owned(), (bytes.to_vec(), version + 1));
        Written::Done
    }
}
