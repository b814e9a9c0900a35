//! `RouteMatch`, as far as `jwt_authn` asks for it.

use mesh_jwt::config::document::MatchConfig;

use super::super::paths;
use super::super::reader::{Fault, Field};
use super::super::rule::problem;

/// Which requests a rule is for.
pub(super) struct Matcher<'s> {
    pub(super) paths: Paths,
    /// Hosts and methods.
    pub(super) others: MatchConfig,
    /// Conditions that the filter does not know.
    pub(super) unknown: Vec<Field<'s>>,
    pub(super) is_case_sensitive: bool,
}

/// Which paths.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Paths {
    Any,
    /// Exactly this one.
    Exact(String),
    /// All that begin with this text.
    Prefix(String),
    /// This one, and what is below it.
    Segments(String),
    /// Patterns of the filter, for more than this and for less.
    Patterns {
        at_least: Vec<String>,
        at_most: Vec<String>,
        literal: String,
    },
    /// Some of those that begin with this text.
    Some(String),
}

impl Paths {
    /// What all of them begin with.
    pub(super) fn literal(&self) -> &str {
        match self {
            Self::Any => "",
            Self::Exact(text) | Self::Prefix(text) | Self::Segments(text) | Self::Some(text) => {
                text
            }
            Self::Patterns { literal, .. } => literal,
        }
    }

    /// Those that the filter can tell, and no others. `None` if there are none such.
    pub(super) fn at_most(&self) -> Option<Vec<String>> {
        Some(match self {
            Self::Any => Vec::new(),
            Self::Exact(path) => vec![path.clone()],
            Self::Prefix(prefix) => paths::at_most(prefix),
            Self::Segments(path) => paths::on_segments(path),
            Self::Patterns { at_most, .. } => at_most.clone(),
            Self::Some(_) => return None,
        })
    }

    /// The same, with a slash at the end more or less.
    pub(super) fn on_segments(&self) -> Option<Vec<String>> {
        match self {
            Self::Prefix(prefix) => Some(paths::on_segments(prefix)),
            Self::Patterns { at_least, .. } => Some(at_least.clone()),
            _ => self.at_most(),
        }
    }
}

impl<'s> Matcher<'s> {
    pub(super) fn read(field: &Field<'s>) -> Result<Self, Fault> {
        let mut others = MatchConfig::default();
        let mut unknown = Vec::new();
        let mut found = path(field)?;
        if let Some(connect) = field.member("connect_matcher") {
            connect.settle();
            others.methods.push("CONNECT".to_owned());
            found = Some(Paths::Any);
        }
        if let Some(policy) = field.member("path_match_policy") {
            match template(&policy)? {
                Some(paths) => found = Some(paths),
                None => unknown.push(policy),
            }
        }
        let Some(mut paths) = found.or_else(|| (!unknown.is_empty()).then_some(Paths::Any)) else {
            return Err(field.fault("names no path; write a prefix such as \"/\""));
        };
        for header in field.list("headers")? {
            if !header_condition(&header, &mut others)? {
                unknown.push(header);
            }
        }
        for name in ["query_parameters", "cookies", "dynamic_metadata", "filter_state"] {
            unknown.extend(field.list(name)?);
        }
        for name in ["grpc", "tls_context", "runtime_fraction"] {
            unknown.extend(field.member(name));
        }
        if paths.at_most().is_some_and(|paths| !is_taken(&paths)) {
            paths = Paths::Some(paths::above(paths.literal()).to_owned());
        }
        let is_case_sensitive = field.member("case_sensitive").map_or(Ok(true), |it| it.flag())?;
        Ok(Self { paths, others, unknown, is_case_sensitive })
    }

    /// The prefix of which no path is left to later rules.
    pub(super) fn covers_prefix(&self) -> Option<&str> {
        let is_for_all = self.unknown.is_empty()
            && self.others == MatchConfig::default()
            && self.is_case_sensitive;
        match &self.paths {
            Paths::Any => Some(""),
            Paths::Prefix(prefix) => Some(prefix.as_str()),
            _ => None,
        }
        .filter(|_| is_for_all)
    }
}

fn path(field: &Field<'_>) -> Result<Option<Paths>, Fault> {
    if let Some(prefix) = field.member("prefix") {
        let prefix = prefix.text()?;
        return Ok(Some(if prefix.len() < 2 { Paths::Any } else { Paths::Prefix(prefix) }));
    }
    if let Some(path) = field.member("path") {
        return path.text().map(Paths::Exact).map(Some);
    }
    if let Some(path) = field.member("path_separated_prefix") {
        return path.text().map(Paths::Segments).map(Some);
    }
    let Some(regex) = field.member("safe_regex") else { return Ok(None) };
    if let Some(engine) = regex.member("google_re2") {
        engine.settle();
    }
    match regex.member("regex") {
        Some(text) => Ok(Some(Paths::Some(regex_stem(&text.text()?)))),
        None => Err(regex.fault("has no regex; write one")),
    }
}

/// `/users/{id}/**` of the extension `uri_template`.
fn template(policy: &Field<'_>) -> Result<Option<Paths>, Fault> {
    let Some(text) = policy.descend(&["typed_config", "path_template"]) else { return Ok(None) };
    let text = text.text()?;
    for (_, field) in policy.fields() {
        field.settle();
    }
    Ok(segments_of_template(&text))
}

fn segments_of_template(text: &str) -> Option<Paths> {
    let segment = |segment: &str| {
        let inner = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let operator = match inner {
            Some(inner) => inner.split_once('=').map_or("*", |(_, operator)| operator),
            None => segment,
        };
        (operator == "**" || operator == "*" || !operator.contains(['*', '{', '}']))
            .then(|| operator.to_owned())
    };
    let segments: Vec<_> =
        text.strip_prefix('/')?.split('/').map(segment).collect::<Option<_>>()?;
    let literal: String = segments
        .iter()
        .take_while(|segment| !segment.contains('*'))
        .flat_map(|segment| ["/", segment])
        .collect();
    match segments.split_last()? {
        (last, above) if last == "**" && above.iter().all(|segment| segment != "**") => {
            let above: String = above.iter().flat_map(|segment| ["/", segment]).collect();
            Some(Paths::Patterns {
                at_least: vec![format!("{above}/**")],
                at_most: vec![format!("{above}/"), format!("{above}/*/**")],
                literal: format!("{literal}/"),
            })
        }
        _ if segments.iter().all(|segment| segment != "**") => {
            let pattern = format!("/{}", segments.join("/"));
            Some(Paths::Patterns {
                at_least: vec![pattern.clone()],
                at_most: vec![pattern],
                literal,
            })
        }
        _ => None,
    }
}

/// Whether the condition is one that the filter knows too.
fn header_condition(header: &Field<'_>, others: &mut MatchConfig) -> Result<bool, Fault> {
    let Some(name) = header.member("name") else {
        return Err(header.fault("has no name; write that of a header"));
    };
    let name = name.text()?.to_ascii_lowercase();
    if header.is_set("invert_match")? {
        return Ok(false);
    }
    let string = header.member("string_match");
    let member = |name: &str| {
        let old = header.member(&format!("{name}_match"));
        old.or_else(|| string.as_ref().and_then(|string| string.member(name)))
    };
    let exact = member("exact").map(|exact| exact.text()).transpose()?;
    match (name.as_str(), exact) {
        (":method", Some(method)) if others.methods.is_empty() => others.methods.push(method),
        (":method", None) if others.methods.is_empty() => {
            let regex = member("safe_regex").and_then(|regex| regex.member("regex"));
            let Some(methods) = regex.map(|regex| regex.text()).transpose()? else {
                return Ok(false);
            };
            let methods = methods.trim_start_matches(['^', '(']).trim_end_matches(['$', ')']);
            let is_word = |word: &str| word.bytes().all(|byte| byte.is_ascii_uppercase());
            if !methods.split('|').all(is_word) {
                return Ok(false);
            }
            others.methods.extend(methods.split('|').map(str::to_owned));
        }
        (":authority" | "host", Some(host)) if others.hosts.is_empty() => others.hosts.push(host),
        (":authority" | "host", None) if others.hosts.is_empty() => {
            let suffix = member("suffix").map(|suffix| suffix.text()).transpose()?;
            let Some(suffix) = suffix.filter(|suffix| suffix.starts_with('.')) else {
                return Ok(false);
            };
            others.hosts.push(format!("*{suffix}"));
        }
        _ => return Ok(false),
    }
    if let Some(case) = string.and_then(|string| string.member("ignore_case")) {
        case.flag()?;
    }
    let known = MatchConfig {
        hosts: others.hosts.clone(),
        methods: others.methods.clone(),
        ..MatchConfig::default()
    };
    if problem(&known).is_none() {
        return Ok(true);
    }
    *others = MatchConfig::default();
    Ok(false)
}

/// Whether the filter takes these patterns.
fn is_taken(paths: &[String]) -> bool {
    problem(&MatchConfig { paths: paths.to_vec(), ..MatchConfig::default() }).is_none()
}

/// What a text that matches begins with.
fn regex_stem(regex: &str) -> String {
    let regex = regex.strip_prefix('^').unwrap_or(regex);
    if regex.contains('|') {
        return "/".to_owned();
    }
    let is_other = |c: char| !c.is_ascii_alphanumeric() && !matches!(c, '/' | '-' | '_');
    let (literal, rest) = regex.split_at(regex.find(is_other).unwrap_or(regex.len()));
    let mut literal = literal.to_owned();
    // The last character may be missing.
    if rest.starts_with(['?', '*', '{']) {
        literal.pop();
    }
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regex_begins_with_what_no_quantifier_takes_away() {
        for (regex, expected) in [
            ("/api/?.*", "/api"),
            ("/a/*x", "/a"),
            ("/a/{0,2}", "/a"),
            ("/admin/*.*", "/admin"),
            ("/a/+x", "/a/"),
            ("^/v2/[a-z]+/x", "/v2/"),
            ("/?a", ""),
            ("/a|/b", "/"),
            (r"/a\.json", "/a"),
            ("(?i)/a", ""),
        ] {
            assert_eq!(regex_stem(regex), expected, "{regex}");
        }
    }
}
