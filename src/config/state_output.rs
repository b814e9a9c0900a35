//! What a provider tells access logs and traces of its tokens: `outputClaimToFilterState`.

use super::error::ConfigError;
use super::object::Object;
use crate::jose::ClaimName;
use std::rc::Rc;

/// A value of a verified token that the proxy keeps with the request.
#[derive(Clone, Debug)]
pub(crate) struct StateOutput {
    /// The name of the property that it becomes.
    pub(crate) property: Rc<str>,
    pub(crate) source: StateSource,
    /// Whether only the SHA-256 of the value is told.
    pub(crate) is_hashed: bool,
}

/// What the value is taken from.
#[derive(Clone, Debug)]
pub(crate) enum StateSource {
    Claim(ClaimName),
    /// The `kid` in the JOSE header.
    KeyId,
}

pub(super) fn read(object: &mut Object) -> Result<Vec<StateOutput>, ConfigError> {
    let mut outputs = Vec::<StateOutput>::new();
    for mut output in object.objects("outputClaimToFilterState")? {
        let name = output.required_string("name", "name it as access logs are to find it")?;
        // What needs no quotes in a format string, nor in the expressions of other filters.
        if !name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')) {
            return Err(output.error("name", "may hold small letters, digits and '_' only"));
        }
        let property = format!("mesh_jwt.claims.{name}").into();
        if outputs.iter().any(|other| other.property == property) {
            return Err(output.error("name", "is set twice; keep one of them"));
        }
        let claim = output.string("claim")?;
        let is_key_id = output.choice("joseHeader", &[("kid", true)], false)?;
        let source = match (claim, is_key_id) {
            (Some(claim), false) => StateSource::Claim(ClaimName::new(&claim)),
            (None, true) => StateSource::KeyId,
            _ => return Err(output.error("claim", "name either a claim, or joseHeader: \"kid\"")),
        };
        let is_hashed = output.choice("hash", &[("sha256", true)], false)?;
        output.finish()?;
        outputs.push(StateOutput { property, source, is_hashed });
    }
    Ok(outputs)
}
