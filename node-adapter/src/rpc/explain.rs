//! Says what is wrong with a request that jsonrpsee only calls invalid.

use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Body;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use jsonrpsee_server::types::error::{INVALID_REQUEST_CODE, PARSE_ERROR_CODE};
use jsonrpsee_server::{HttpBody, HttpResponse};
use serde_json::{Value, json};

/// Longest answer that is looked at: such errors are short.
const MAX_ERROR_BYTES: u64 = 4096;

/// Adds `data` to an error about the request as a whole, and leaves nothing of an answer to nobody; passes on every other
/// answer as it is.
pub(super) async fn explain(response: HttpResponse, request: &[u8]) -> HttpResponse {
    let bytes = response.body().size_hint().exact();
    if bytes.is_none_or(|bytes| bytes > MAX_ERROR_BYTES) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // The whole answer stands in memory.
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    parts.headers.remove(CONTENT_LENGTH);
    if &*body == b"null" {
        // Notifications alone are answered by nothing, as Bitcoin Core does (`HTTPReq_JSONRPC` in its `src/httprpc.cpp`).
        parts.status = StatusCode::NO_CONTENT;
        parts.headers.remove(CONTENT_TYPE);
        return HttpResponse::from_parts(parts, HttpBody::empty());
    }
    let body = explained(&body, request).unwrap_or_else(|| body.to_vec());
    HttpResponse::from_parts(parts, body.into())
}

fn explained(answer: &[u8], request: &[u8]) -> Option<Vec<u8>> {
    let mut answer: Value = serde_json::from_slice(answer).ok()?;
    let error = answer.get_mut("error")?.as_object_mut()?;
    if error.contains_key("data") {
        return None;
    }
    let code = i32::try_from(error.get("code")?.as_i64()?).ok()?;
    if ![PARSE_ERROR_CODE, INVALID_REQUEST_CODE].contains(&code) {
        return None;
    }
    let reason = match serde_json::from_slice::<Value>(request) {
        Ok(request) => {
            // jsonrpsee calls it no JSON where it finds no id.
            error.insert("code".to_owned(), json!(INVALID_REQUEST_CODE));
            error.insert("message".to_owned(), json!("Invalid request"));
            what_is_wrong(&request).to_owned()
        }
        Err(error) => format!("the body is no JSON: {error}"),
    };
    error.insert("data".to_owned(), json!(reason));
    Some(answer.to_string().into_bytes())
}

fn what_is_wrong(request: &Value) -> &'static str {
    let Some(call) = request.as_object() else {
        return "a call must be an object, and a list must have one in it";
    };
    if call.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return "\"jsonrpc\": \"2.0\" is missing; other versions are not spoken here";
    }
    match (call.get("method"), call.get("id")) {
        (Some(Value::String(_)), None | Some(Value::Null | Value::Number(_) | Value::String(_))) => {
            "a call has jsonrpc, method, params and id, each once"
        }
        (Some(Value::String(_)), Some(_)) => "id must be a number, a text or null",
        _ => "method must be a text",
    }
}
