//! Rules: which requests need a token, and what the token must grant.

#[cfg(not(target_arch = "wasm32"))]
mod cover;
mod host;
mod index;
mod method;
mod path;

pub(crate) use host::HostPattern;
pub(crate) use path::{PathPattern, RequestPath};

use crate::jose::{ClaimName, Claims};
use crate::per_provider::ProviderId;
use crate::reason::Reason;
use crate::request::RequestHead;
use host::Authority;
use index::PathIndex;
use serde_json::Value;
use std::borrow::Cow;
use std::rc::Rc;

/// The rules of a configuration, in order.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    rules: Vec<Indexed>,
    paths: PathIndex,
    has_methods: bool,
    has_hosts: bool,
    /// Those that rules name, each once, and `None` for all others.
    ports: Vec<Option<u16>>,
    ignore_path_case: bool,
    default: Access,
}

impl Rules {
    /// `ignore_path_case` if the paths of the rules were parsed ignoring case.
    pub(crate) fn new(rules: Vec<Rule>, ignore_path_case: bool) -> Self {
        let (mut indexed, mut paths) = (Vec::new(), PathIndex::new());
        let mut named_ports = vec![None];
        for (number, Rule { matched, access }) in rules.into_iter().enumerate() {
            let Match { hosts, methods, paths: patterns, ports } = matched;
            paths.add(number, patterns, access.is_loose());
            add_each(&mut named_ports, ports.iter().copied().map(Some));
            indexed.push(Indexed { hosts, methods, ports, access });
        }
        Self {
            paths,
            has_methods: indexed.iter().any(|rule| !rule.methods.is_empty()),
            has_hosts: indexed.iter().any(|rule| !rule.hosts.is_empty()),
            ports: named_ports,
            rules: indexed,
            ignore_path_case,
            default: Access::Required(Rc::default()),
        }
    }

    /// Whether any rule names ports.
    pub(crate) fn name_ports(&self) -> bool {
        self.ports.len() > 1
    }

    /// What the first matching rule requires of a request; a token of any provider if none matches.
    ///
    /// A request has several readings if servers may read its host, method or path differently, or
    /// if nobody knows which port its connection came to. Access is loosened only if the first
    /// matching rule of every reading loosens it, and never for an ambiguous path. Otherwise the
    /// request must meet the strict rules of all readings.
    pub(crate) fn access(&self, request: &RequestHead<'_>) -> Access {
        match self.select(request) {
            Selected::One(access) => access.clone(),
            Selected::Several(accesses) => all_of(accesses.into_iter()),
        }
    }

    /// The numbers of the rules that [`Self::access`] goes by; `None` stands for no rule at all.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn deciding(&self, request: &RequestHead<'_>) -> Vec<Option<usize>> {
        let number =
            |access: &Access| self.rules.iter().position(|rule| std::ptr::eq(&rule.access, access));
        match self.select(request) {
            Selected::One(access) => vec![number(access)],
            Selected::Several(accesses) => accesses.into_iter().map(number).collect(),
        }
    }

    fn select<'s>(&'s self, request: &RequestHead<'_>) -> Selected<'s> {
        if self.rules.is_empty() {
            return Selected::One(&self.default);
        }
        let authority = match self.has_hosts {
            true => request.authority().to_ascii_lowercase(),
            false => String::new(),
        };
        let (own, all);
        let methods = match self.has_methods {
            true => {
                all = method::readings(request, |method| self.names_method(method));
                all.as_slice()
            }
            false => {
                own = [Cow::Borrowed(request.method())];
                &own
            }
        };
        // One that nobody knows may be any that rules name, or another.
        let port = [request.destination_port()];
        let ports = if port == [None] { self.ports.as_slice() } else { &port };
        let hosts = host::readings(&authority);
        let readings = || {
            hosts.clone().flat_map(|host| {
                let with_ports = move |method| {
                    ports.iter().map(move |port| Reading { host, method, port: *port })
                };
                methods.iter().flat_map(move |method| with_ports(&**method))
            })
        };
        let path = RequestPath::new(request.path()).ignoring_case(self.ignore_path_case);
        if path.is_too_long() {
            return self.of_any_path(readings);
        }
        // Each reading of the path is made once, since it may be large.
        let all = |strict_only, is_so: &mut dyn FnMut(&'s Access) -> bool| {
            path.readings().all(|path| {
                readings().all(|reading| is_so(self.first(&reading, &path, strict_only)))
            })
        };

        let mut first: Option<&Access> = None;
        let mut is_first = |access| std::ptr::eq(*first.get_or_insert(access), access);
        if all(path.is_ambiguous(), &mut is_first) {
            return Selected::One(first.unwrap_or(&self.default));
        }
        let is_loose = all(path.is_ambiguous(), &mut |access| access.is_loose());
        let mut selected: Vec<&Access> = Vec::new();
        all(!is_loose, &mut |access| {
            if !selected.iter().any(|other| std::ptr::eq(*other, access)) {
                selected.push(access);
            }
            true
        });
        Selected::Several(selected)
    }

    /// All strict rules for any of these readings, whatever the path.
    fn of_any_path<'r, R: Iterator<Item = Reading<'r>>>(
        &self,
        readings: impl Fn() -> R,
    ) -> Selected<'_> {
        let is_for = |rule: &&Indexed| readings().any(|reading| rule.matches(&reading));
        let strict = self.rules.iter().filter(is_for).map(|rule| &rule.access);
        let strict = strict.filter(|access| !access.is_loose()).chain([&self.default]);
        Selected::Several(strict.collect())
    }

    fn names_method(&self, method: &[u8]) -> bool {
        let mut methods = self.rules.iter().flat_map(|rule| &rule.methods);
        methods.any(|named| named.as_bytes() == method)
    }

    /// What the first rule for one reading requires; with `strict_only`, the first strict rule.
    fn first(&self, reading: &Reading<'_>, path: &str, strict_only: bool) -> &Access {
        let is_suitable =
            |rule: &Indexed| !(strict_only && rule.access.is_loose()) && rule.matches(reading);
        self.paths
            .first(path, |rule| self.rules.get(rule).is_some_and(is_suitable))
            .and_then(|rule| self.rules.get(rule))
            .map_or(&self.default, |rule| &rule.access)
    }
}

/// What the rules that decide on a request say.
enum Selected<'s> {
    One(&'s Access),
    /// Its readings meet different rules, of which the request must meet all.
    Several(Vec<&'s Access>),
}

/// The strictest access of these, with the requirements of all.
fn all_of<'a>(accesses: impl Iterator<Item = &'a Access>) -> Access {
    let (mut is_required, mut is_optional) = (false, false);
    let mut all = Requirement::default();
    for access in accesses {
        match access {
            Access::Public => {}
            Access::Optional(requirement) => {
                is_optional = true;
                all.add(requirement);
            }
            Access::Required(requirement) => {
                is_required = true;
                all.add(requirement);
            }
        }
    }
    match (is_required, is_optional) {
        (false, false) => Access::Public,
        (false, true) => Access::Optional(Rc::new(all)),
        (true, _) => Access::Required(Rc::new(all)),
    }
}

/// A rule: the requests that it matches, and what it requires of them.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) matched: Match,
    pub(crate) access: Access,
}

/// The requests that a rule matches; an empty field matches any.
#[derive(Clone, Debug, Default)]
pub(crate) struct Match {
    pub(crate) hosts: Vec<HostPattern>,
    pub(crate) methods: Vec<String>,
    pub(crate) paths: Vec<PathPattern>,
    pub(crate) ports: Vec<u16>,
}

/// A rule without its paths, which are in the index of all rules.
#[derive(Clone, Debug)]
struct Indexed {
    hosts: Vec<HostPattern>,
    methods: Vec<String>,
    ports: Vec<u16>,
    access: Access,
}

impl Indexed {
    /// Whether the rule matches, as far as all but the path goes.
    fn matches(&self, reading: &Reading<'_>) -> bool {
        let Reading { host, method, port } = *reading;
        (self.methods.is_empty() || self.methods.iter().any(|m| m.as_bytes() == method))
            && (self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.matches(host)))
            && (self.ports.is_empty() || port.is_some_and(|port| self.ports.contains(&port)))
    }
}

/// One reading of all of a request but its path.
#[derive(Clone, Copy)]
struct Reading<'a> {
    host: Authority<'a>,
    method: &'a [u8],
    /// `None` for one that no rule names.
    port: Option<u16>,
}

/// What a rule requires of a request.
#[derive(Clone, Debug)]
pub(crate) enum Access {
    /// A token may be absent, but not bad.
    Optional(Rc<Requirement>),
    /// A token is not looked at.
    Public,
    Required(Rc<Requirement>),
}

impl Access {
    fn is_loose(&self) -> bool {
        !matches!(self, Self::Required(_))
    }
}

/// What a token must be and grant.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Requirement {
    /// One of these, in order; any if absent.
    pub(crate) providers: Option<Vec<ProviderId>>,
    /// One of each of these lists.
    pub(crate) audiences: Vec<Vec<String>>,
    /// All of these.
    pub(crate) scopes: Vec<String>,
    /// Each of these claims, with one of its values.
    pub(crate) claims: Vec<(ClaimName, Vec<String>)>,
}

impl Requirement {
    /// Adds everything that `other` requires.
    fn add(&mut self, other: &Self) {
        self.providers = match (self.providers.take(), &other.providers) {
            (Some(ours), Some(theirs)) => {
                Some(ours.into_iter().filter(|provider| theirs.contains(provider)).collect())
            }
            (ours, theirs) => ours.or_else(|| theirs.clone()),
        };
        add_each(&mut self.audiences, other.audiences.iter().cloned());
        add_each(&mut self.scopes, other.scopes.iter().cloned());
        add_each(&mut self.claims, other.claims.iter().cloned());
    }

    /// Whether this requirement takes such a token; a signature check would change nothing.
    pub(crate) fn admit(&self, provider: ProviderId, claims: &Claims) -> Result<(), Reason> {
        let mut providers = self.providers.iter();
        if !providers.all(|providers| providers.binary_search(&provider).is_ok()) {
            return Err(Reason::ProviderNotAllowed);
        }
        match self.audiences.iter().all(|audiences| claims.is_for_any_of(audiences)) {
            true => Ok(()),
            false => Err(Reason::AudienceNotAllowed),
        }
    }

    /// Whether verified claims grant what this requires.
    ///
    /// `space_delimited` names the claims whose strings are lists.
    pub(crate) fn authorize(
        &self,
        claims: &Claims,
        space_delimited: &[ClaimName],
    ) -> Result<(), Reason> {
        if !self.scopes.iter().all(|scope| claims.grants(scope)) {
            return Err(Reason::ScopeInsufficient);
        }
        let holds = |(name, wanted): &(ClaimName, Vec<String>)| {
            claims
                .find(name)
                .is_some_and(|value| holds_any(value, wanted, space_delimited.contains(name)))
        };
        if !self.claims.iter().all(holds) {
            return Err(Reason::ClaimMismatch);
        }
        Ok(())
    }
}

/// Adds what is missing: several readings may lead to the same rule.
fn add_each<T: PartialEq>(all: &mut Vec<T>, others: impl IntoIterator<Item = T>) {
    for other in others {
        if !all.contains(&other) {
            all.push(other);
        }
    }
}

fn holds_any(value: &Value, wanted: &[String], is_list: bool) -> bool {
    let is_wanted = |text: &str| wanted.iter().any(|wanted| wanted == text);
    match value {
        Value::Array(items) => items.iter().filter_map(scalar_text).any(|item| is_wanted(&item)),
        Value::String(text) if is_list => text.split(' ').any(is_wanted),
        scalar => scalar_text(scalar).is_some_and(|text| is_wanted(&text)),
    }
}

/// A scalar as text, in which claims and configured values are compared.
///
/// `None` for a number that is no 64-bit integer: it is kept as floating point, where different
/// numbers become equal.
pub(crate) fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => Some(number.to_string()),
            (None, number) => number.map(|number| number.to_string()),
        },
        Value::String(text) => Some(text.clone()),
        Value::Array(_) | Value::Null | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use serde_json::json;

    /// Whether a token with `claims` meets a rule for `wanted`.
    fn grants(space_delimited: Value, wanted: Value, claims: &Value) -> bool {
        let config = json!({
            "providers": [{
                "issuer": "i",
                "jwksUri": "https://i/",
                "spaceDelimitedClaims": space_delimited,
            }],
            "rules": [{"claims": wanted}],
        });
        let config = Config::parse(config.to_string().as_bytes()).unwrap();
        let claims = Claims::parse(claims.to_string().as_bytes()).ok().unwrap();
        let Access::Required(requirement) = &config.rules.rules[0].access else { panic!() };
        let provider = config.providers.values().next().unwrap();
        requirement.authorize(&claims, &provider.space_delimited_claims).is_ok()
    }

    #[test]
    fn a_claim_holds_a_value_as_a_scalar_or_as_one_of_an_array() {
        let wanted = json!({"c": ["a", 7, true]});

        for value in [json!("a"), json!(7), json!("7"), json!(true), json!(["x", "a"])] {
            assert!(grants(json!([]), wanted.clone(), &json!({"c": value})), "{value}");
        }
        for value in [
            json!("A"),
            json!("a b"),
            json!([["a"]]),
            json!({"a": 1}),
            json!(null),
            json!(7.0),
            json!([7.5]),
        ] {
            assert!(!grants(json!([]), wanted.clone(), &json!({"c": value})), "{value}");
        }
        assert!(!grants(json!([]), json!({"c": ["a"], "d": ["b"]}), &json!({"c": "a"})));
    }

    /// One list alone would let a token for one API in at the other.
    #[test]
    fn audiences_of_two_readings_are_asked_for_together() {
        let rule = |audiences: &[&str]| {
            let audiences = audiences.iter().map(|audience| (*audience).to_owned()).collect();
            let requirement = Requirement { audiences: vec![audiences], ..Requirement::default() };
            Access::Required(Rc::new(requirement))
        };
        let rules = [rule(&["orders", "all"]), rule(&["users", "all"]), rule(&["orders", "all"])];

        let Access::Required(both) = all_of(rules.iter()) else { panic!() };

        assert_eq!(both.audiences.len(), 2);
        let admits = |aud: Value| {
            let claims = json!({"aud": aud}).to_string();
            let claims = Claims::parse(claims.as_bytes()).ok().unwrap();
            let config = r#"{"providers": [{"issuer": "i", "jwksUri": "https://i/"}]}"#;
            let config = Config::parse(config.as_bytes()).unwrap();
            let (provider, _) = config.providers.iter().next().unwrap();
            both.admit(provider, &claims)
        };
        for aud in [json!("all"), json!(["orders", "users"])] {
            assert_eq!(admits(aud.clone()), Ok(()), "{aud}");
        }
        for aud in [json!("orders"), json!(["users"]), json!([]), json!("ALL")] {
            assert_eq!(admits(aud.clone()), Err(Reason::AudienceNotAllowed), "{aud}");
        }
    }

    // `scope` and `permission` used to lose their meaning once another claim was named.
    #[test]
    fn naming_a_list_in_a_string_leaves_scope_and_permission_lists() {
        for claim in ["scope", "permission", "roles"] {
            let wanted = json!({claim: ["b"]});

            assert!(grants(json!(["roles"]), wanted.clone(), &json!({claim: "a b"})), "{claim}");
            assert!(!grants(json!(["roles"]), wanted, &json!({claim: "ab"})), "{claim}");
        }
        assert!(!grants(json!([]), json!({"roles": ["b"]}), &json!({"roles": "a b"})));
    }
}
