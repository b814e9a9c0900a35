//! Whether one rule matches all that another matches, for those who look after configurations.

use super::path::{PathPattern, Segment};
use super::{Access, Match, Rule};

impl Rule {
    /// Whether every request that `other` matches is sure to be matched by this rule.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let (own, others) = (&self.matched, &other.matched);
        covers_each(&own.hosts, &others.hosts, |own, other| own.covers(other))
            && covers_each(&own.methods, &others.methods, |own, other| own == other)
            && covers_each(&own.ports, &others.ports, |own, other| own == other)
            && covers_each(&self.paths(), &other.paths(), PathPattern::covers)
    }

    /// Whether it matches every request.
    pub(crate) fn matches_all(&self) -> bool {
        let Match { hosts, methods, paths: _, ports } = &self.matched;
        hosts.is_empty() && methods.is_empty() && ports.is_empty() && self.paths().is_empty()
    }

    /// Whether requests that this rule matches may go on without a token.
    pub(crate) fn is_loose(&self) -> bool {
        !matches!(self.access, Access::Required(_))
    }

    /// With the slash at the end that strict rules do not care about; none if any path will do.
    fn paths(&self) -> Vec<PathPattern> {
        let own = self.matched.paths.iter();
        if own.clone().any(|pattern| pattern.with_descendants && pattern.segments.is_empty()) {
            return Vec::new();
        }
        own.flat_map(|pattern| {
            let other = pattern.with_other_end().filter(|_| !self.is_loose());
            std::iter::once(pattern.clone()).chain(other)
        })
        .collect()
    }
}

/// Whether one list of alternatives covers another; an empty one is any.
fn covers_each<T>(own: &[T], others: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
    own.is_empty()
        || (!others.is_empty()
            && others.iter().all(|other| own.iter().any(|own| covers(own, other))))
}

impl PathPattern {
    fn covers(&self, other: &Self) -> bool {
        let enough = match (self.with_descendants, other.with_descendants) {
            (true, _) => self.segments.len() <= other.segments.len(),
            (false, false) => self.segments.len() == other.segments.len(),
            (false, true) => false,
        };
        enough
            && self.segments.iter().zip(&other.segments).all(|pair| match pair {
                (Segment::Any, Segment::Any) => true,
                (Segment::Any, Segment::Literal(literal)) => !literal.is_empty(),
                (own @ Segment::Literal(_), other) => own == other,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_for_every_path_is_one_for_everything() {
        let rule = |path: &str| {
            let paths = vec![PathPattern::parse(path).unwrap()];
            Rule { matched: Match { paths, ..Match::default() }, access: Access::Public }
        };

        assert!(rule("/**").matches_all());
        assert!(rule("/**").covers(&Rule { matched: Match::default(), access: Access::Public }));
        assert!(!rule("/a/**").matches_all());
        assert!(!rule("/").matches_all());
    }

    #[test]
    fn a_pattern_covers_what_it_is_sure_to_match() {
        let covers = |own: &str, other: &str| {
            PathPattern::parse(own).unwrap().covers(&PathPattern::parse(other).unwrap())
        };

        for (own, other) in [
            ("/**", "/a"),
            ("/**", "/**"),
            ("/a/**", "/a"),
            ("/a/**", "/a/b/**"),
            ("/a/**", "/a/*"),
            ("/*", "/a"),
            ("/*/b", "/a/b"),
            ("/a", "/a"),
        ] {
            assert!(covers(own, other), "{own} {other}");
        }
        for (own, other) in [
            ("/a", "/**"),
            ("/a", "/a/**"),
            ("/a", "/*"),
            ("/a/**", "/b"),
            ("/a/**", "/*"),
            ("/a/b/**", "/a"),
            ("/a/*", "/a/"),
        ] {
            assert!(!covers(own, other), "{own} {other}");
        }
    }
}
