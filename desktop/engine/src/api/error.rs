//! Errors as Docker's clients read them: a status and `{"message": …}`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use serde_json::json;
use tonic::Code;
use wherry_client::StreamError;

/// Why a call of the Engine API failed.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    message: String,
}

pub(super) type Result<T> = std::result::Result<T, ApiError>;

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// What this engine does not have, and why.
    pub(super) fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, message)
    }

    pub(super) fn internal(error: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Returns the line that ends a stream of JSON that failed on the way.
    pub(super) fn line(&self) -> Bytes {
        let detail = json!({"message": self.message});
        let value = json!({"errorDetail": detail, "error": self.message});
        Bytes::from(format!("{value}\r\n"))
    }

    fn of_code(code: Code, message: &str) -> Self {
        let status = match code {
            Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
            Code::Unauthenticated => StatusCode::UNAUTHORIZED,
            Code::PermissionDenied => StatusCode::FORBIDDEN,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => StatusCode::CONFLICT,
            Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let status = match status {
            StatusCode::CONFLICT => of_conflict(message),
            status => status,
        };
        // Clients look for Docker's words.
        match message.strip_prefix("no such image") {
            Some(rest) => Self::new(status, format!("No such image{rest}")),
            None => Self::new(status, message),
        }
    }

    /// As Docker has it of a command that cannot be executed: it is the client who
    /// asked for what cannot be.
    pub(super) fn of_start(self) -> Self {
        let wrong = [
            "executable file not found",
            "no such file or directory",
            "permission denied",
            "is a directory",
            "not a directory",
        ];
        let message = self.message.to_lowercase();
        let is_wrong = wrong.iter().any(|words| message.contains(words));
        match self.status {
            StatusCode::CONFLICT if is_wrong => Self::bad_request(self.message),
            _ => self,
        }
    }
}

/// Docker's statuses of what the guest calls a conflict.
fn of_conflict(message: &str) -> StatusCode {
    let forbidden = [
        "is a pre-defined network",
        "operation is not permitted on predefined",
        "has active endpoints",
    ];
    let wrong = [
        "connected to host network",
        "connected to multiple networks with one of the networks in private",
    ];
    let has = |list: &[&str]| list.iter().any(|words| message.contains(words));
    if has(&forbidden) {
        StatusCode::FORBIDDEN
    } else if has(&wrong) {
        StatusCode::BAD_REQUEST
    } else if message.contains("logging driver does not support reading") {
        StatusCode::NOT_IMPLEMENTED
    } else {
        StatusCode::CONFLICT
    }
}

impl From<tonic::Status> for ApiError {
    fn from(status: tonic::Status) -> Self {
        Self::of_code(status.code(), status.message())
    }
}

impl From<StreamError> for ApiError {
    fn from(error: StreamError) -> Self {
        match &error {
            StreamError::Refused { code, message } => Self::of_code(*code, message),
            StreamError::Connect { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
            }
            StreamError::Broken(_) => Self::internal(error),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::info!(
                status = self.status.as_u16(),
                "a Docker client's call failed: {}",
                self.message
            );
        }
        (self.status, Json(json!({"message": self.message}))).into_response()
    }
}
