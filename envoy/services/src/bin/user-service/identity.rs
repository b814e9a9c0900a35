//! Who is calling, whoever found out.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Map, Value};

/// The same for a token, whether this service verified it or the filter.
#[derive(Default, Serialize)]
pub(crate) struct Identity {
    #[serde(rename = "x-user-id")]
    user_id: Option<String>,
    #[serde(rename = "x-scopes")]
    scopes: Option<String>,
    #[serde(rename = "x-tenant")]
    tenant: Option<String>,
    claims: Option<Map<String, Value>>,
}

impl Identity {
    /// What the filter made of the token.
    pub(crate) fn of_headers(headers: &HeaderMap) -> Self {
        let payload = || URL_SAFE_NO_PAD.decode(headers.get(PAYLOAD)?).ok();
        Self {
            user_id: text(headers, USER_ID),
            scopes: text(headers, SCOPES),
            tenant: text(headers, TENANT),
            claims: payload().and_then(|payload| serde_json::from_slice(&payload).ok()),
        }
    }

    /// The same, by `outputClaimToHeaders` in `envoy/envoy.yaml`.
    pub(crate) fn of_claims(claims: Map<String, Value>) -> Self {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            user_id: text("sub"),
            scopes: text("scope"),
            tenant: text("tenant").or_else(|| Some("default".to_owned())),
            claims: Some(claims),
        }
    }

    /// Whether a request says by its headers who is calling.
    pub(crate) fn is_claimed_by(headers: &HeaderMap) -> bool {
        [USER_ID, SCOPES, TENANT, PAYLOAD].iter().any(|name| headers.contains_key(*name))
    }
}

/// All values of a header: a second `x-user-id` is a forged identity, and must be seen.
fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();

    (!values.is_empty()).then(|| values.join(", "))
}

const USER_ID: &str = "x-user-id";
const SCOPES: &str = "x-scopes";
const TENANT: &str = "x-tenant";
const PAYLOAD: &str = "x-jwt-payload";
