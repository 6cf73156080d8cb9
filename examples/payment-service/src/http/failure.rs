//! Failures, as HTTP answers.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::payments::PayError;

/// An answer that says what went wrong.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    error: String,
}

impl Failure {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into() }
    }
}

impl From<PayError> for Failure {
    fn from(error: PayError) -> Self {
        let status = match error {
            PayError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            PayError::Declined => StatusCode::PAYMENT_REQUIRED,
            PayError::Conflict => StatusCode::CONFLICT,
            PayError::Database(_) | PayError::Message(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl From<transactional_message::Error> for Failure {
    fn from(error: transactional_message::Error) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut error = self.error;
        if self.status.is_server_error() {
            // The details are for the log.
            tracing::warn!(error, "a request failed");
            "not available now; try again, a payment with the same payment_id".clone_into(&mut error);
        }
        (self.status, Json(serde_json::json!({ "error": error }))).into_response()
    }
}
