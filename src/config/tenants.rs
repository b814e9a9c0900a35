//! Issuers by template: one provider for the tenants of one identity service.

use super::error::{ConfigError, Path};
use super::object::Object;
use super::string_match;
use super::uri::HttpUri;
use crate::string_match::StringMatch;

/// The issuers of a provider with tenants.
#[derive(Clone, Debug)]
pub(crate) struct Tenants {
    /// The issuer before and after the tenant.
    before: String,
    after: String,
    /// A tenant has to be one of these.
    allowed: Vec<StringMatch>,
    /// The most tenants whose keys are kept.
    pub(crate) most: usize,
}

impl Tenants {
    /// The tenant in an issuer of this form, whether or not it is allowed.
    pub(crate) fn tenant_of<'i>(&self, issuer: &'i str) -> Option<&'i str> {
        let tenant = issuer.strip_prefix(&*self.before)?.strip_suffix(&*self.after)?;
        is_tenant(tenant).then_some(tenant)
    }

    pub(crate) fn allows(&self, tenant: &str) -> bool {
        self.allowed.iter().any(|allowed| allowed.matches(tenant))
    }

    /// Whether an issuer can be of both forms.
    pub(crate) fn overlap(&self, other: &Self) -> bool {
        let begin_alike =
            self.before.starts_with(&*other.before) || other.before.starts_with(&*self.before);
        let end_alike = self.after.ends_with(&*other.after) || other.after.ends_with(&*self.after);
        begin_alike && end_alike
    }

    /// Reads `issuers`; returns the template too.
    pub(super) fn read(mut object: Object) -> Result<(String, Self), ConfigError> {
        let template =
            object.required_string("template", "write the issuer, with {tenant} in its path")?;
        check_template(object.path(), "template", &template)?;
        let mend = "say what {tenant} may be, such as [{\"exact\": \"acme\"}]";
        let allowed = string_match::list(&mut object, "tenants", mend, read_allowed)?;
        let most = object.count("maxTenants", DEFAULT_MAX_TENANTS, 1..=MAX_TENANTS)?;
        object.finish()?;
        // The check above found it.
        let (before, after) = template.split_once(TENANT).unwrap_or((&template, ""));
        let tenants = Self { before: before.to_owned(), after: after.to_owned(), allowed, most };
        Ok((template, tenants))
    }
}

/// Checks that a URI is a template: that it holds `{tenant}` once, as a whole segment of its path.
pub(super) fn check_template(path: &Path, field: &str, text: &str) -> Result<(), ConfigError> {
    let error = |problem: &str| ConfigError::new(&path.member(field), problem.to_owned());
    let uri = HttpUri::parse(text).map_err(|problem| error(&format!("{text:?} {problem}")))?;
    let (uri_path, _) = uri.path.split_once('?').unwrap_or((&uri.path, ""));
    let is_whole_segment = uri_path.split('/').filter(|segment| *segment == TENANT).count() == 1;
    if !is_whole_segment || text.matches(['{', '}']).count() != 2 {
        return Err(error(
            "needs {tenant} once, as a whole segment of its path, such as \
             \"https://login.example.com/{tenant}/v2.0\"",
        ));
    }
    Ok(())
}

fn read_allowed(item: Object) -> Result<StringMatch, ConfigError> {
    let path = item.path().clone();
    let allowed = string_match::read(item)?;
    match &allowed {
        StringMatch::Exact(tenant) if !is_tenant(tenant) => Err(ConfigError::new(
            &path.member("exact"),
            format!(
                "{tenant:?} cannot be a tenant: those have up to {MAX_TENANT_BYTES} letters, \
                 digits, '-', '.', '_' and '~'"
            ),
        )),
        StringMatch::Exact(_) | StringMatch::Prefix(_) | StringMatch::Regex(_) => Ok(allowed),
    }
}

/// The template for one tenant.
pub(super) fn for_tenant(template: &str, tenant: &str) -> String {
    template.replace(TENANT, tenant)
}

/// Whether a URI can hold the text unchanged as a whole segment of its path: only the unreserved
/// characters of RFC 3986 §2.3, and no dot segment.
fn is_tenant(text: &str) -> bool {
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    (1..=MAX_TENANT_BYTES).contains(&text.len())
        && text.bytes().all(is_unreserved)
        && !matches!(text, "." | "..")
}

pub(super) const DEFAULT_MAX_TENANTS: usize = 100;
pub(super) const MAX_TENANTS: usize = 1000;
const MAX_TENANT_BYTES: usize = 128;
const TENANT: &str = "{tenant}";
