//! `to[].operation`: hosts, methods, paths and ports, and what they may not be.

use mesh_jwt::config::document::MatchConfig;

use super::super::conversion::Options;
use super::super::paths;
use super::super::reader::{Fault, Field};
use super::super::rule::problem;

/// The requests of an operation, as far as the filter can tell them.
pub(super) struct Operation {
    /// These, and no others; `None` if there are none that the filter can tell.
    pub(super) at_most: Option<MatchConfig>,
    /// All of them, and perhaps others.
    pub(super) at_least: MatchConfig,
    /// Whether that is the same.
    pub(super) is_exact: bool,
    /// Requests that are not meant, of those that the filter can tell.
    pub(super) exempt: Vec<MatchConfig>,
    /// Whether it says what requests are not.
    pub(super) has_exemptions: bool,
    /// Whether `exempt` is all of that.
    pub(super) exempts_all: bool,
}

impl Operation {
    /// One that is for every request.
    pub(super) fn any() -> Self {
        Self {
            at_most: Some(MatchConfig::default()),
            at_least: MatchConfig::default(),
            is_exact: true,
            exempt: Vec::new(),
            has_exemptions: false,
            exempts_all: true,
        }
    }

    /// Whether it is for every request.
    pub(super) fn is_any(&self) -> bool {
        self.is_exact && self.at_least == MatchConfig::default()
    }

    pub(super) fn read(field: &Field<'_>, options: &Options) -> Result<Self, Fault> {
        let hosts = Values::read(field.texts("hosts")?, host);
        let methods = Values::read(field.texts("methods")?, method);
        let paths = Values::read(field.texts("paths")?, |text| path(text, options));
        let ports = field.list("ports")?;
        let ports: Vec<_> = ports.iter().map(port).collect::<Result<_, _>>()?;
        let not_hosts = Values::read(field.texts("notHosts")?, host);
        let not_methods = Values::read(field.texts("notMethods")?, method);
        let not_paths = Values::read(field.texts("notPaths")?, |text| path(text, options));
        let exempt = [
            not_hosts.at_most().map(|hosts| MatchConfig { hosts, ..MatchConfig::default() }),
            not_methods.at_most().map(|methods| MatchConfig { methods, ..MatchConfig::default() }),
            not_paths.at_most().map(|paths| MatchConfig { paths, ..MatchConfig::default() }),
        ];
        let exempts_all = [not_hosts, not_methods, not_paths].iter().all(Values::are_told);
        let not_ports: Vec<_> =
            field.list("notPorts")?.iter().map(port).collect::<Result<_, _>>()?;
        let mut exempt: Vec<_> = exempt
            .into_iter()
            .flatten()
            .filter(|matched| *matched != MatchConfig::default())
            .collect();
        if !not_ports.is_empty() {
            exempt.push(MatchConfig { ports: not_ports, ..MatchConfig::default() });
        }
        let has_exemptions = ["notHosts", "notMethods", "notPaths", "notPorts"]
            .iter()
            .any(|name| field.member(name).is_some());
        let at_most = || {
            Some(MatchConfig {
                hosts: hosts.at_most()?,
                methods: methods.at_most()?,
                paths: paths.at_most()?,
                ports: ports.clone(),
            })
        };
        Ok(Self {
            // Nothing can be taken away from a match.
            at_most: if has_exemptions { None } else { at_most() },
            at_least: MatchConfig {
                hosts: hosts.at_least(),
                methods: methods.at_least(),
                paths: paths.at_least(),
                ports: ports.clone(),
            },
            is_exact: !has_exemptions
                && hosts.are_exact()
                && methods.are_exact()
                && paths.are_exact(),
            exempt,
            has_exemptions,
            exempts_all,
        })
    }
}

/// The values of one list, which are all if there are none.
struct Values(Vec<Value>);

struct Value {
    /// Every value is meant.
    is_any: bool,
    at_most: Vec<String>,
    /// `None` for any.
    at_least: Option<Vec<String>>,
}

impl Value {
    fn exact(pattern: String) -> Self {
        Self { is_any: false, at_most: vec![pattern.clone()], at_least: Some(vec![pattern]) }
    }

    fn any() -> Self {
        Self { is_any: true, at_most: Vec::new(), at_least: None }
    }

    fn unknown() -> Self {
        Self { is_any: false, at_most: Vec::new(), at_least: None }
    }
}

impl Values {
    fn read(texts: Vec<String>, read: impl Fn(&str) -> Value) -> Self {
        Self(texts.iter().map(|text| read(text)).collect())
    }

    fn are_any(&self) -> bool {
        self.0.is_empty() || self.0.iter().any(|value| value.is_any)
    }

    /// The patterns for no more than these; `None` if there are none.
    fn at_most(&self) -> Option<Vec<String>> {
        if self.are_any() {
            return Some(Vec::new());
        }
        let all: Vec<_> = self.0.iter().flat_map(|value| value.at_most.clone()).collect();
        (!all.is_empty()).then_some(all)
    }

    fn at_least(&self) -> Vec<String> {
        let all: Option<Vec<_>> = self.0.iter().map(|value| value.at_least.clone()).collect();
        all.unwrap_or_default().concat()
    }

    /// Whether no value is known in part only.
    fn are_told(&self) -> bool {
        self.are_any()
            || self.0.iter().all(|value| {
                let least = value.at_least.as_deref().unwrap_or_default();
                !value.at_most.is_empty()
                    && least.iter().all(|pattern| {
                        value.at_most.contains(pattern)
                            || pattern.strip_suffix("**").is_some_and(|above| {
                                value.at_most.contains(&format!("{above}*/**"))
                            })
                    })
            })
    }

    fn are_exact(&self) -> bool {
        self.are_any() || self.0.iter().all(|value| value.at_least.as_ref() == Some(&value.at_most))
    }
}

fn host(text: &str) -> Value {
    let hosts = vec![text.to_owned()];
    match text {
        "*" => Value::any(),
        _ if problem(&MatchConfig { hosts, ..MatchConfig::default() }).is_none() => {
            Value::exact(text.to_owned())
        }
        _ => Value::unknown(),
    }
}

fn method(text: &str) -> Value {
    match text {
        "*" => Value::any(),
        _ if text.bytes().all(|byte| byte.is_ascii_uppercase()) => Value::exact(text.to_owned()),
        _ => Value::unknown(),
    }
}

/// `/a`, `/a*`, `*/a`, `*`, or a template of `{*}` and `{**}`.
fn path(text: &str, options: &Options) -> Value {
    let is_taken = |paths: &[String]| {
        problem(&MatchConfig { paths: paths.to_vec(), ..MatchConfig::default() }).is_none()
    };
    let value = match text.strip_suffix('*') {
        Some("") => return Value::any(),
        Some("/") => return Value::any(),
        Some(prefix) if prefix.starts_with('/') && !prefix.contains(['*', '{', '}']) => {
            let is_whole = options.whole_segments || !paths::has_neighbours(prefix);
            let at_least =
                if is_whole { paths::on_segments(prefix) } else { paths::at_least(prefix) };
            Value { is_any: false, at_most: paths::at_most(prefix), at_least: Some(at_least) }
        }
        _ if text.contains(['{', '}']) => template(text),
        _ if text.contains('*') => Value::unknown(),
        _ => Value::exact(text.to_owned()),
    };
    let at_least = value.at_least.as_deref().unwrap_or_default();
    if is_taken(&value.at_most) && is_taken(at_least) { value } else { Value::unknown() }
}

/// `{*}` is a segment, and `{**}` anything.
fn template(text: &str) -> Value {
    if let Some(above) = text.strip_suffix("/{**}")
        && !above.contains("{**}")
    {
        let above = above.replace("{*}", "*");
        return Value {
            is_any: false,
            at_most: vec![format!("{above}/"), format!("{above}/*/**")],
            at_least: Some(vec![format!("{above}/**")]),
        };
    }
    match text.replace("{*}", "*") {
        pattern if pattern.contains(['{', '}']) => Value::unknown(),
        pattern => Value::exact(pattern),
    }
}

fn port(field: &Field<'_>) -> Result<u16, Fault> {
    let number = field.scalar()?.parse().ok().filter(|port| *port != 0);
    number.ok_or_else(|| field.fault("is not a port; write a number from 1 to 65535"))
}

#[cfg(test)]
mod tests {
    use super::super::super::reader::{Ledger, Naming};
    use super::super::super::tests::node;
    use super::*;

    fn of_paths(paths: &str) -> Operation {
        let node = node(&format!("paths: [{paths}]"));
        let ledger = Ledger::new("file");
        let field = Field::new(&ledger, Naming::Exact, &node, String::new());
        Operation::read(&field, &Options::default()).unwrap()
    }

    #[test]
    fn paths_become_patterns_for_no_more_and_for_no_less() {
        for (path, most, least) in [
            ("/a", Some(&["/a"][..]), &["/a"][..]),
            ("/a/*", Some(&["/a/", "/a/*/**"]), &["/a/**"]),
            ("/a*", Some(&["/a/**"]), &["/*/**"]),
            ("'*/a'", None, &[]),
            ("'*'", Some(&[]), &[]),
            ("'/a/{*}/b'", Some(&["/a/*/b"]), &["/a/*/b"]),
            ("'/a/{**}'", Some(&["/a/", "/a/*/**"]), &["/a/**"]),
            ("'/a/{**}/b'", None, &[]),
            ("'/a b'", Some(&["/a b"]), &["/a b"]),
            ("'/a//b'", None, &[]),
        ] {
            let operation = of_paths(path);
            let at_most = operation.at_most.map(|matched| matched.paths);
            assert_eq!(
                at_most.as_deref(),
                most.map(|m| m.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>()).as_deref(),
                "{path}"
            );
            assert_eq!(operation.at_least.paths, least, "{path}");
        }
    }
}
