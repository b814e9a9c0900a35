//! Paths that begin with a text, which the filter knows on the borders of segments only.

/// All paths that begin with this text, and no other: less if there are none such on the borders of
/// segments. `/` and nothing stand for every path, and have no patterns.
pub(crate) fn at_most(prefix: &str) -> Vec<String> {
    match prefix.strip_suffix('/') {
        _ if is_all(prefix) => Vec::new(),
        Some(_) => vec![prefix.to_owned(), format!("{prefix}*/**")],
        None => vec![format!("{prefix}/**")],
    }
}

/// Every path that begins with this text up to its last segment, which is taken for a whole one.
pub(crate) fn on_segments(prefix: &str) -> Vec<String> {
    match prefix.strip_suffix('/') {
        _ if is_all(prefix) => Vec::new(),
        Some(_) => vec![format!("{prefix}**")],
        None => vec![format!("{prefix}/**")],
    }
}

/// Every path that begins with this text, and its neighbours.
pub(crate) fn at_least(prefix: &str) -> Vec<String> {
    match prefix.ends_with('/') {
        _ if is_all(prefix) => Vec::new(),
        true => vec![format!("{prefix}**")],
        false => vec![format!("{}*/**", above(prefix))],
    }
}

/// The text up to its last slash.
pub(crate) fn above(prefix: &str) -> &str {
    prefix.rfind('/').and_then(|slash| prefix.get(..=slash)).unwrap_or("/")
}

/// Whether other segments begin with the last one: `/api` and `/apis`.
pub(crate) fn has_neighbours(prefix: &str) -> bool {
    !prefix.ends_with('/') && !prefix.is_empty()
}

/// Whether a path may begin with both.
pub(crate) fn overlap(one: &str, other: &str) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

fn is_all(prefix: &str) -> bool {
    matches!(prefix, "" | "/")
}

#[cfg(test)]
mod tests {
    use super::super::rule::problem;
    use super::*;
    use mesh_jwt::config::document::MatchConfig;

    #[test]
    fn prefixes_become_patterns_that_the_filter_takes() {
        for (prefix, most, segments, least) in [
            ("/", &[][..], &[][..], &[][..]),
            ("/api", &["/api/**"], &["/api/**"], &["/*/**"]),
            ("/api/", &["/api/", "/api/*/**"], &["/api/**"], &["/api/**"]),
            ("/v1/api", &["/v1/api/**"], &["/v1/api/**"], &["/v1/*/**"]),
        ] {
            assert_eq!(at_most(prefix), most, "{prefix}");
            assert_eq!(on_segments(prefix), segments, "{prefix}");
            assert_eq!(at_least(prefix), least, "{prefix}");
            for paths in [at_most(prefix), on_segments(prefix), at_least(prefix)] {
                assert_eq!(
                    problem(&MatchConfig { paths, ..MatchConfig::default() }),
                    None,
                    "{prefix}"
                );
            }
        }
    }
}
