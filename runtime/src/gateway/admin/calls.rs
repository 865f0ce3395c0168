//! `/v1/classes/{class}/objects/{object}/call/{method}`: calls a method of an object, with JSON outside.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::objects::ObjectRoute;
use super::{path, problem};
use crate::base::limits::CALL_BYTES_MAX;
use crate::base::{CallAnswer, MethodCall, MethodName};
use crate::gateway::cbor;
use crate::gateway::problem::Problem;

/// Bytes of a refusal that is shown.
const REFUSAL_MAX: usize = 1 << 20;

impl ObjectRoute<'_> {
    /// Calls a method. All methods may be called, public or not.
    pub(super) async fn call_method(self, method: &str, body: &mut Body) -> Result<Response, Problem> {
        let bad_name = |why: String| Problem::new(&problem::NO_METHOD, why);
        let method = path::decoded(method).map_err(|_| bad_name("the name of the method is not UTF-8".into()))?;
        let method = MethodName::parse(&method).map_err(|error| bad_name(error.to_string()))?;
        let (body, charge) = self.admin.collect(body, CALL_BYTES_MAX as u64, &problem::BODY_TOO_LARGE).await?;
        let arguments = cbor::arguments(&body).map_err(|why| Problem::new(&problem::BAD_ARGUMENTS, why))?;
        drop(body);
        let call = MethodCall { method, arguments: arguments.into(), charge };
        let answered = self.deliver(call).await?;
        let no_json = |why| Problem::new(&problem::BAD_RESULT, why).about(&self.address);
        match answered {
            CallAnswer::Value(value) => {
                let json = cbor::to_json(&value).map_err(no_json)?;
                Ok((StatusCode::OK, [(CONTENT_TYPE, "application/json")], json).into_response())
            }
            CallAnswer::Refused(value) => {
                let value = if value.len() > REFUSAL_MAX { None } else { cbor::to_json(&value).ok() };
                let value = value.and_then(|json| serde_json::from_slice(&json).ok());
                Err(Problem::new(&problem::REFUSED, "see `error`").about(&self.address).with_error(value))
            }
        }
    }
}
