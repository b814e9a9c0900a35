//! `predicates[]`: `Path`, `Method` and `Host`.

use mesh_jwt::config::document::MatchConfig;
use serde_json::Value;

use super::super::reader::{Fault, Field};
use super::super::rule::problem;

/// Adds what a predicate asks for, or returns its name.
pub(super) fn read(
    predicate: &Field<'_>,
    is_strict: bool,
    matched: &mut MatchConfig,
) -> Result<Result<(), String>, Fault> {
    let (name, values) = match predicate.is_map() {
        false => {
            let text = predicate.text()?;
            let (name, values) = text.split_once('=').unwrap_or((&text, ""));
            let values = values.split(',').map(|value| value.trim().to_owned()).collect();
            (name.to_owned(), values)
        }
        true => {
            let name = predicate.member("name").map(|name| name.text()).transpose()?;
            let args = predicate.member("args").map(|args| args.whole());
            (name.unwrap_or_default(), args.map(strings).unwrap_or_default())
        }
    };
    let convert: fn(&str, bool) -> Option<Vec<String>> = match name.as_str() {
        "Host" => host,
        "Method" => |method, _| Some(vec![method.to_ascii_uppercase()]),
        "Path" => path,
        _ => return Ok(Err(name)),
    };
    let values: Vec<String> = values;
    let all: Option<Vec<_>> = values.iter().map(|value| convert(value, is_strict)).collect();
    let Some(all) = all.map(|all| all.concat()).filter(|all| !all.is_empty()) else {
        return Ok(Err(name));
    };
    let probe = match name.as_str() {
        "Host" => MatchConfig { hosts: all.clone(), ..MatchConfig::default() },
        "Method" => MatchConfig { methods: all.clone(), ..MatchConfig::default() },
        _ => MatchConfig { paths: all.clone(), ..MatchConfig::default() },
    };
    let is_taken = problem(&probe).is_none();
    let list = match name.as_str() {
        "Host" => &mut matched.hosts,
        "Method" => &mut matched.methods,
        _ => &mut matched.paths,
    };
    if !is_taken || !list.is_empty() {
        return Ok(Err(name));
    }
    *list = all;
    Ok(Ok(()))
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

/// `**.example.com` is any host below, and `*.example.com` or `{name}.example.com` one right below.
fn host(pattern: &str, is_strict: bool) -> Option<Vec<String>> {
    let (first, rest) = pattern.split_once('.').unwrap_or((pattern, ""));
    let host = match first {
        "**" => format!("*.{rest}"),
        _ if first == "*" || first.starts_with('{') => match is_strict {
            true => format!("*.{rest}"),
            false => return None,
        },
        _ => pattern.to_owned(),
    };
    Some(vec![host])
}

/// A pattern of Spring's: `?`, `*`, `{name}` in a segment, and at the end `**` or `{*rest}`. Where the
/// filter knows no such, more than it for a strict rule, and nothing for others.
fn path(pattern: &str, is_strict: bool) -> Option<Vec<String>> {
    let mut segments = Vec::new();
    let all: Vec<_> = pattern.strip_prefix('/')?.split('/').collect();
    for (index, segment) in all.iter().enumerate() {
        let is_last = index.checked_add(1) == Some(all.len());
        let inner = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        match (*segment, inner) {
            ("**", _) if is_last => segments.push("**"),
            (_, Some(name)) if name.starts_with('*') && is_last => segments.push("**"),
            ("*", _) => segments.push("*"),
            (_, Some(name)) if !name.contains(':') => segments.push("*"),
            (text, None) if !text.contains(['*', '?', '{']) => segments.push(text),
            // Of the segment, nothing but that it is there.
            _ if !is_strict => return None,
            ("**", _) => {
                segments.push("**");
                break;
            }
            _ => segments.push("*"),
        }
    }
    match segments.as_slice() {
        ["**"] => Some(vec!["/**".to_owned()]),
        segments => Some(vec![format!("/{}", segments.join("/"))]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_spring_become_no_less_where_a_token_is_needed_and_no_more_elsewhere() {
        for (pattern, strict, loose) in [
            ("/a/**", Some("/a/**"), Some("/a/**")),
            ("/a/{id}/b", Some("/a/*/b"), Some("/a/*/b")),
            ("/a/{*rest}", Some("/a/**"), Some("/a/**")),
            ("/**", Some("/**"), Some("/**")),
            ("/a?/b", Some("/*/b"), None),
            ("/a/{id:[0-9]+}", Some("/a/*"), None),
            ("/a/**/b", Some("/a/**"), None),
            ("a", None, None),
        ] {
            let one = |pattern: Option<&str>| pattern.map(|pattern| vec![pattern.to_owned()]);
            assert_eq!(path(pattern, true), one(strict), "{pattern}");
            assert_eq!(path(pattern, false), one(loose), "{pattern}");
        }
    }

    #[test]
    fn a_host_right_below_is_told_from_all_below_where_no_token_is_needed() {
        for (pattern, strict, loose) in [
            ("**.example.com", Some("*.example.com"), Some("*.example.com")),
            ("*.example.com", Some("*.example.com"), None),
            ("{sub}.example.com", Some("*.example.com"), None),
            ("api.example.com", Some("api.example.com"), Some("api.example.com")),
        ] {
            let one = |pattern: Option<&str>| pattern.map(|pattern| vec![pattern.to_owned()]);
            assert_eq!(host(pattern, true), one(strict), "{pattern}");
            assert_eq!(host(pattern, false), one(loose), "{pattern}");
        }
    }
}
