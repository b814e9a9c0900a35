//! `predicates[]`: `Path`, `Method` and `Host`.

use mesh_jwt::config::document::MatchConfig;
use serde_json::Value;

use super::super::reader::{Fault, Field};
use super::super::rule::problem;

/// A predicate that was read.
pub(super) struct Predicate {
    pub(super) name: String,
    pub(super) taken: Taken,
}

/// How much of a predicate is in the match.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Taken {
    All,
    /// The match is for other requests as well.
    AndMore,
    Nothing,
}

/// Patterns of the filter, and whether they match more than what they were made of.
#[derive(Debug, Eq, PartialEq)]
struct Patterns {
    patterns: Vec<String>,
    is_wider: bool,
}

/// Adds what a predicate asks for, which for strict rules may be less, so that they are for more.
pub(super) fn read(
    predicate: &Field<'_>,
    is_strict: bool,
    matched: &mut MatchConfig,
) -> Result<Predicate, Fault> {
    let (name, values) = match predicate.is_map() {
        false => {
            let text = predicate.text()?;
            let (name, values) = text.split_once('=').unwrap_or((&text, ""));
            (name.to_owned(), strings(Value::from(values)))
        }
        true => {
            let name = predicate.member("name").map(|name| name.text()).transpose()?;
            let args = predicate.member("args").map(|args| args.whole());
            (name.unwrap_or_default(), args.map(strings).unwrap_or_default())
        }
    };
    if values.iter().any(|value| value.contains("${")) {
        return Err(predicate.fault(PLACEHOLDER));
    }
    let convert: fn(&str, bool) -> Option<Patterns> = match name.as_str() {
        "Host" => host,
        "Method" => |method, _| Some(Patterns::exact(method.to_ascii_uppercase())),
        "Path" => path,
        _ => return Ok(Predicate { name, taken: Taken::Nothing }),
    };
    let all: Option<Vec<_>> = values.iter().map(|value| convert(value, is_strict)).collect();
    let all = all.unwrap_or_default();
    let is_wider = all.iter().any(|patterns| patterns.is_wider);
    let all: Vec<_> = all.into_iter().flat_map(|patterns| patterns.patterns).collect();
    let (mut probe, mut joined) = (MatchConfig::default(), matched.clone());
    let (of_probe, list) = match name.as_str() {
        "Host" => (&mut probe.hosts, &mut joined.hosts),
        "Method" => (&mut probe.methods, &mut joined.methods),
        _ => (&mut probe.paths, &mut joined.paths),
    };
    of_probe.clone_from(&all);
    // Two of a kind must both hold, and the filter has one list of each.
    if all.is_empty() || !list.is_empty() || problem(&probe).is_some() {
        return Ok(Predicate { name, taken: Taken::Nothing });
    }
    *list = all;
    *matched = joined;
    Ok(Predicate { name, taken: if is_wider { Taken::AndMore } else { Taken::All } })
}

impl Patterns {
    fn exact(pattern: String) -> Self {
        Self { patterns: vec![pattern], is_wider: false }
    }
}

/// All texts in the arguments of a predicate, which may have any names.
fn strings(args: Value) -> Vec<String> {
    match args {
        Value::String(text) => text.split(',').map(|part| part.trim().to_owned()).collect(),
        Value::Array(items) => items.into_iter().flat_map(strings).collect(),
        Value::Object(members) => {
            members.into_iter().flat_map(|(_, value)| strings(value)).collect()
        }
        Value::Bool(_) | Value::Null | Value::Number(_) => Vec::new(),
    }
}

/// `**.example.com` is the host and any below, and `*.example.com` or `{name}.example.com` one right
/// below.
fn host(pattern: &str, is_strict: bool) -> Option<Patterns> {
    let (first, rest) = pattern.split_once('.').unwrap_or((pattern, ""));
    let below = format!("*.{rest}");
    let is_one = first == "*" || (first.starts_with('{') && first.ends_with('}'));
    Some(match first {
        "**" if is_strict => Patterns { patterns: vec![rest.to_owned(), below], is_wider: false },
        "**" => Patterns::exact(below),
        _ if is_one && !is_strict => return None,
        _ if is_one => Patterns { patterns: vec![below], is_wider: true },
        _ => Patterns::exact(pattern.to_owned()),
    })
}

/// A pattern of Spring's: `?`, `*`, `{name}` in a segment, and at the end `**` or `{*rest}`. Where the
/// filter knows no such, more than it for a strict rule, and nothing for others.
fn path(pattern: &str, is_strict: bool) -> Option<Patterns> {
    let (mut segments, mut is_wider) = (Vec::new(), false);
    let all: Vec<_> = pattern.strip_prefix('/')?.split('/').collect();
    // A slash in braces parts no segments.
    let count = |segment: &str, brace: char| segment.matches(brace).count();
    if all.iter().any(|segment| count(segment, '{') != count(segment, '}')) {
        return None;
    }
    for (index, segment) in all.iter().enumerate() {
        let is_last = index.checked_add(1) == Some(all.len());
        let inner = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let inner = inner.filter(|name| !name.contains(['{', '}', ':']));
        match (*segment, inner) {
            ("**", _) if is_last => segments.push("**"),
            (_, Some(name)) if name.starts_with('*') && is_last => segments.push("**"),
            (_, Some(name)) if !name.starts_with('*') => segments.push("*"),
            ("*", _) => segments.push("*"),
            (text, None) if !text.contains(['*', '?', '{', '\\']) => segments.push(text),
            _ if !is_strict => return None,
            ("**", _) | (_, Some(_)) => {
                segments.push("**");
                is_wider = true;
                break;
            }
            // Of the segment, nothing but that it is there.
            _ => {
                segments.push("*");
                is_wider = true;
            }
        }
    }
    Some(Patterns { patterns: vec![format!("/{}", segments.join("/"))], is_wider })
}

/// What is wrong with `${…}`.
pub(super) const PLACEHOLDER: &str =
    "holds a placeholder; write what it stands for, and convert again";

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(patterns: &[&str]) -> Option<Patterns> {
        Some(Patterns { is_wider: false, ..wider(patterns).unwrap() })
    }

    fn wider(patterns: &[&str]) -> Option<Patterns> {
        let patterns = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        Some(Patterns { patterns, is_wider: true })
    }

    #[test]
    fn patterns_of_spring_become_no_less_where_a_token_is_needed_and_no_more_elsewhere() {
        for (pattern, strict, loose) in [
            ("/a/**", exact(&["/a/**"]), exact(&["/a/**"])),
            ("/a/{id}/b", exact(&["/a/*/b"]), exact(&["/a/*/b"])),
            ("/a/{*rest}", exact(&["/a/**"]), exact(&["/a/**"])),
            ("/**", exact(&["/**"]), exact(&["/**"])),
            ("/a?/b", wider(&["/*/b"]), None),
            ("/a/{id:[0-9]+}", wider(&["/a/*"]), None),
            ("/a/{id:[0-9]{2}}", wider(&["/a/*"]), None),
            ("/a/{one}-{two}", wider(&["/a/*"]), None),
            ("/a/**/b", wider(&["/a/**"]), None),
            ("/a/{id:[^/]+}", None, None),
            ("a", None, None),
        ] {
            assert_eq!(path(pattern, true), strict, "{pattern}");
            assert_eq!(path(pattern, false), loose, "{pattern}");
        }
    }

    #[test]
    fn hosts_become_no_less_where_a_token_is_needed_and_no_more_elsewhere() {
        let all = exact(&["example.com", "*.example.com"]);
        for (pattern, strict, loose) in [
            ("**.example.com", all, exact(&["*.example.com"])),
            ("*.example.com", wider(&["*.example.com"]), None),
            ("{sub}.example.com", wider(&["*.example.com"]), None),
            ("api.example.com", exact(&["api.example.com"]), exact(&["api.example.com"])),
        ] {
            assert_eq!(host(pattern, true), strict, "{pattern}");
            assert_eq!(host(pattern, false), loose, "{pattern}");
        }
    }
}
