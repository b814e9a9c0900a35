//! Programs that some machines have, and some tests need.

use std::env;
use std::path::PathBuf;

/// The one that the environment variable names, or the first of these names that is found.
pub fn find(variable: &str, names: &[&str]) -> Option<PathBuf> {
    if let Some(named) = env::var_os(variable) {
        return Some(named.into());
    }
    let directories: Vec<_> = env::split_paths(&env::var_os("PATH")?).collect();
    let mut programs =
        names.iter().flat_map(|name| directories.iter().map(move |of| of.join(name)));
    programs.find(|program| program.is_file())
}
