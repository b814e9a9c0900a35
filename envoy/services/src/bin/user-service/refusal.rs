//! A request that is refused.

use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Why, by the codes of the filter where it knows the reason.
pub(crate) struct Refusal {
    status: StatusCode,
    code: &'static str,
    detail: String,
}

impl Refusal {
    /// The token, or that there is none.
    pub(crate) fn of_caller(code: &'static str, detail: impl Into<String>) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, code, detail: detail.into() }
    }

    /// What the caller cannot mend.
    pub(crate) fn of_operator(code: &'static str, detail: impl Into<String>) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, code, detail: detail.into() }
    }

    pub(crate) fn answer(self, verification: &str) -> Response {
        let body = json!({
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
            "verification": verification,
        });
        let mut response =
            (self.status, [(CONTENT_TYPE, "application/problem+json")], body.to_string())
                .into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
