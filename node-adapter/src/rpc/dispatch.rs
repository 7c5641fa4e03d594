//! Calls, batches and notifications: each goes to the node, in order.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use hyper::body::Bytes;
use jsonrpsee_server::middleware::rpc::{Batch, BatchEntry, Notification, Request, RpcServiceT};
use jsonrpsee_server::types::{ErrorCode, ErrorObjectOwned, Id};
use jsonrpsee_server::{BatchResponseBuilder, MethodResponse, ResponsePayload};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::error::{nearest, unknown_method};
use super::method::{Call, METHODS};

/// An answer that is being made.
pub type Answering = Pin<Box<dyn Future<Output = Result<Value, ErrorObjectOwned>> + Send>>;

/// What the methods ask of the node.
pub trait Operations: Send + Sync + 'static {
    /// Does what a client asks for; everything but [`Call::Help`].
    fn carry_out(&self, call: Call) -> Answering;

    /// Names of the methods that modules have registered.
    fn module_methods(&self) -> Vec<String>;
}

/// The methods, as jsonrpsee calls them.
#[derive(Clone)]
pub(super) struct Dispatcher {
    pub(super) operations: Arc<dyn Operations>,
    pub(super) answer_bytes: usize,
}

impl Dispatcher {
    async fn answer(self, method: &str, params: Option<&str>) -> Result<Value, ErrorObjectOwned> {
        tracing::debug!(method = ?method.chars().take(64).collect::<String>(), "called by JSON-RPC");
        match Call::read(method, params)? {
            Call::Help { method } => self.help(&method),
            Call::Module { method, .. } if !self.operations.module_methods().contains(&method) => {
                Err(self.unknown(&method))
            }
            call => self.operations.carry_out(call).await,
        }
    }

    fn unknown(&self, method: &str) -> ErrorObjectOwned {
        let of_modules = self.operations.module_methods();
        let known = METHODS.iter().map(|known| known.name).chain(of_modules.iter().map(String::as_str));
        unknown_method(method, nearest(method, known))
    }

    /// All methods, or the one that is named.
    fn help(&self, only: &str) -> Result<Value, ErrorObjectOwned> {
        let of_modules = self.operations.module_methods();
        if only.is_empty() {
            return Ok(json!({ "methods": METHODS, "modules": of_modules }));
        }
        match METHODS.iter().find(|known| known.name == only) {
            Some(known) => Ok(json!({ "methods": [known], "modules": [] })),
            None if of_modules.iter().any(|known| known == only) => {
                Ok(json!({ "methods": [], "modules": [only] }))
            }
            None => Err(self.unknown(only)),
        }
    }

    async fn respond(self, request: Request<'_>) -> MethodResponse {
        let Request { id, method, params, .. } = request;
        let answer_bytes = self.answer_bytes;
        let payload = match self.answer(&method, params.as_ref().map(|params| params.get())).await {
            Ok(value) => ResponsePayload::success(value),
            Err(error) => ResponsePayload::error(error),
        };
        MethodResponse::response(id, payload, answer_bytes)
    }

    async fn respond_to_all(self, batch: Batch<'_>) -> MethodResponse {
        let mut responses = BatchResponseBuilder::new_with_limit(self.answer_bytes);
        let mut has_notifications = false;
        for (index, entry) in batch.into_iter().enumerate() {
            let response = match entry {
                Ok(BatchEntry::Call(request)) => self.clone().respond(request).await,
                Ok(BatchEntry::Notification(notification)) => {
                    let noted = self.clone().note(notification, Some(index)).await;
                    if noted.is_notification() {
                        has_notifications = true;
                        continue;
                    }
                    noted
                }
                Err(error) => {
                    let (error, id) = error.into_parts();
                    MethodResponse::error(id, error)
                }
            };
            if let Err(too_long) = responses.append(response) {
                return too_long;
            }
        }
        if responses.is_empty() && has_notifications {
            return MethodResponse::notification();
        }
        MethodResponse::from_batch(responses.finish())
    }

    /// A call whose answer nobody wants; in a batch the one at `index`.
    async fn note(self, notification: Notification<'_>, index: Option<usize>) -> MethodResponse {
        let Notification { method, params, extensions, .. } = notification;
        // jsonrpsee takes a call for one whose id is no id.
        if !extensions.get::<Whole>().is_some_and(|body| body.is_without_id(index)) {
            return MethodResponse::error(Id::Null, ErrorObjectOwned::from(ErrorCode::InvalidRequest));
        }
        // There is nobody to tell of an error.
        let _ = self.answer(&method, params.as_ref().map(|params| params.get())).await;
        MethodResponse::notification()
    }
}

/// The body of a request, known to whoever answers it.
#[derive(Debug, Clone)]
pub(super) struct Whole(pub(super) Bytes);

impl Whole {
    /// Whether the call, in a batch the one at `index`, says that nobody waits for its answer.
    fn is_without_id(&self, index: Option<usize>) -> bool {
        let call = match index {
            None => serde_json::from_slice::<&RawValue>(&self.0).ok(),
            Some(index) => {
                let calls = serde_json::from_slice::<Vec<&RawValue>>(&self.0);
                calls.ok().and_then(|calls| calls.get(index).copied())
            }
        };
        let call =
            call.and_then(|call| serde_json::from_str::<BTreeMap<String, IgnoredAny>>(call.get()).ok());
        call.is_some_and(|call| !call.contains_key("id"))
    }
}

impl RpcServiceT for Dispatcher {
    type MethodResponse = MethodResponse;
    type BatchResponse = MethodResponse;
    type NotificationResponse = MethodResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        self.clone().respond(request)
    }

    fn batch<'a>(&self, batch: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        self.clone().respond_to_all(batch)
    }

    fn notification<'a>(&self, it: Notification<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        self.clone().note(it, None)
    }
}
