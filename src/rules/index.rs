//! Finds the rules for a path without trying all of them.

use super::path::{PathPattern, Segment};
use crate::sorted_map::SortedMap;

/// The path patterns of all rules, as a tree of segments. Rules are numbers here, the first ones
/// smallest.
#[derive(Clone, Debug)]
pub(super) struct PathIndex {
    /// The first one is the root.
    nodes: Vec<Node>,
    /// The rules without paths.
    anywhere: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Node {
    /// The child for each literal segment.
    literals: SortedMap<String, usize>,
    /// The child for `*`.
    any: Option<usize>,
    /// The rules for exactly this path.
    here: Vec<usize>,
    /// The rules for this path and all below it.
    below: Vec<usize>,
}

impl PathIndex {
    pub(super) fn new() -> Self {
        Self { nodes: vec![Node::new()], anywhere: Vec::new() }
    }

    /// Adds the next rule; one without patterns is for any path.
    ///
    /// Many servers take `/a/` for `/a`, so a strict rule for one of them covers both.
    pub(super) fn add(&mut self, rule: usize, patterns: Vec<PathPattern>, is_loose: bool) {
        if patterns.is_empty() {
            self.anywhere.push(rule);
        }
        for pattern in patterns {
            let other = pattern.with_other_end().filter(|_| !is_loose);
            for pattern in std::iter::once(pattern).chain(other) {
                self.insert(pattern, rule);
            }
        }
    }

    /// The first suitable rule for a path.
    pub(super) fn first(&self, path: &str, is_suitable: impl Fn(usize) -> bool) -> Option<usize> {
        let mut best = None;
        let mut consider = |rules: &[usize]| {
            let better = rules.iter().take_while(|rule| best.is_none_or(|best| **rule < best));
            if let Some(rule) = better.copied().find(|rule| is_suitable(*rule)) {
                best = Some(rule);
            }
        };
        consider(&self.anywhere);
        // Where a segment has two children, one of them is put off.
        let (mut next, mut put_off) = (Some((0, Some(path))), Vec::new());
        while let Some((node, rest)) = next.take().or_else(|| put_off.pop()) {
            let Some(node) = self.nodes.get(node) else { continue };
            consider(&node.below);
            let Some(rest) = rest else {
                consider(&node.here);
                continue;
            };
            let (segment, rest) = split_first_segment(rest);
            next = node.literals.get(segment).map(|child| (*child, rest));
            let any = node.any.filter(|_| !segment.is_empty()).map(|child| (child, rest));
            match next {
                Some(_) => put_off.extend(any),
                None => next = any,
            }
        }
        best
    }

    fn insert(&mut self, pattern: PathPattern, rule: usize) {
        let at = pattern.segments.into_iter().fold(0, |node, segment| self.child(node, segment));
        let Some(node) = self.nodes.get_mut(at) else { return };
        if pattern.with_descendants { &mut node.below } else { &mut node.here }.push(rule);
    }

    /// The child of a node for a segment; creates it if needed.
    fn child(&mut self, node: usize, segment: Segment) -> usize {
        let new = self.nodes.len();
        let Some(parent) = self.nodes.get_mut(node) else { return node };
        let child = match segment {
            Segment::Any => *parent.any.get_or_insert(new),
            Segment::Literal(text) => match parent.literals.get(&text) {
                Some(child) => *child,
                None => {
                    parent.literals.insert(text, new);
                    new
                }
            },
        };
        if child == new {
            self.nodes.push(Node::new());
        }
        child
    }
}

/// A path's first segment, and the others. Segments are short, so a search by words would not pay.
fn split_first_segment(path: &str) -> (&str, Option<&str>) {
    let slash = path.bytes().position(|byte| byte == b'/');
    match slash.and_then(|slash| path.split_at_checked(slash)) {
        Some((segment, rest)) => (segment, rest.get(1..)),
        None => (path, None),
    }
}

impl Node {
    fn new() -> Self {
        Self { literals: SortedMap::new(), any: None, here: Vec::new(), below: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::RequestPath;
    use super::*;

    /// The first of these patterns that matches, as loosening rules.
    fn first(patterns: &[&str], path: &str) -> Option<usize> {
        let rules = patterns.iter().map(|pattern| vec![PathPattern::parse(pattern).unwrap()]);
        first_of(&index(rules, true), path)
    }

    fn index(rules: impl IntoIterator<Item = Vec<PathPattern>>, is_loose: bool) -> PathIndex {
        let mut index = PathIndex::new();
        for (number, patterns) in rules.into_iter().enumerate() {
            index.add(number, patterns, is_loose);
        }
        index
    }

    fn first_of(index: &PathIndex, path: &str) -> Option<usize> {
        index.first(&RequestPath::new(path.as_bytes()).readings().next().unwrap(), |_| true)
    }

    fn matches(pattern: &str, path: &str) -> bool {
        first(&[pattern], path).is_some()
    }

    #[test]
    fn patterns_match_on_segment_borders() {
        for (pattern, path) in [
            ("/", "/"),
            ("/healthz", "/healthz"),
            ("/healthz", "/x/../healthz"),
            ("/public/**", "/public"),
            ("/public/**", "/public/"),
            ("/public/**", "/public/a/b"),
            ("/**", "/"),
            ("/**", "/a"),
            ("/users/*/avatar", "/users/7/avatar"),
            ("/users/*", "/users/7"),
            ("/a/*/**", "/a/b"),
            ("/caf\u{e9}", "/caf%c3%a9"),
            ("/a/", "/a/"),
            ("/a/%2A", "/a/*"),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("/healthz", "/healthz/"),
            ("/healthz", "/Healthz"),
            ("/public/**", "/publicity"),
            ("/public/**", "/public/../admin"),
            ("/users/*/avatar", "/users//avatar"),
            ("/users/*/avatar", "/users/7/8/avatar"),
            ("/users/*", "/users/"),
            ("/a/*/**", "/a"),
            ("/a/", "/a"),
            ("/a/%2A", "/a/b"),
        ] {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
    }

    #[test]
    fn a_rule_that_guards_a_path_guards_it_with_a_slash_at_its_end_too() {
        for (pattern, paths, others) in [
            ("/a", &["/a", "/a/"][..], &["/a/b", "/"][..]),
            ("/a/", &["/a", "/a/"], &["/a/b"]),
            ("/a/*", &["/a/b", "/a/b/"], &["/a/", "/a/b/c"]),
            ("/", &["/"], &["/a"]),
        ] {
            let index = index([vec![PathPattern::parse(pattern).unwrap()]], false);

            assert!(paths.iter().all(|path| first_of(&index, path) == Some(0)), "{pattern}");
            let mut others = others.iter();
            assert!(others.all(|path| first_of(&index, path).is_none()), "{pattern}");
        }
    }

    #[test]
    fn the_first_of_several_counts_however_they_are_written() {
        let patterns = ["/a/b", "/a/*", "/*/b", "/a/**", "/**", "/a/b/c"];
        for (path, expected) in [
            ("/a/b", 0),
            ("/a/c", 1),
            ("/x/b", 2),
            ("/a", 3),
            ("/a/b/c", 3),
            ("/", 4),
            ("/x/y/z", 4),
        ] {
            assert_eq!(first(&patterns, path), Some(expected), "{path}");
        }
        let reversed: Vec<_> = patterns.into_iter().rev().collect();
        assert_eq!(first(&reversed, "/a/b"), Some(1));
        assert_eq!(first(&reversed, "/a/b/c"), Some(0));
    }

    #[test]
    fn a_rule_may_have_several_paths_or_none_and_be_unsuitable() {
        let parse = |text| PathPattern::parse(text).unwrap();
        let rules = [vec![parse("/a"), parse("/b/**")], vec![], vec![parse("/b/c")]];
        let index = index(rules, true);

        assert_eq!(index.first("a", |_| true), Some(0));
        assert_eq!(index.first("b/c", |_| true), Some(0));
        assert_eq!(index.first("b/c", |rule| rule != 0), Some(1));
        assert_eq!(index.first("b/c", |rule| rule == 2), Some(2));
        assert_eq!(index.first("x", |rule| rule == 2), None);
    }

    #[test]
    fn a_path_of_many_segments_is_no_trouble() {
        let pattern = format!("/{}x", "*/".repeat(200));
        let path = format!("/{}x", "a/".repeat(20_000));

        assert!(!matches(&pattern, &path));
        assert!(matches("/**", &path));
    }
}
