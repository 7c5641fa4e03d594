//! What a request must show before it is read, and the way from its body to an answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Method, Request, StatusCode, Uri};
use jsonrpsee_server::http::{call_with_service, response};
use jsonrpsee_server::{BatchRequestConfig, HttpBody, HttpRequest, HttpResponse};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::cookie::Cookie;
use super::dispatch::{Dispatcher, Operations, Whole};
use super::explain::explain;
use super::limits::Limits;
use super::places::Place;

/// Refusals in this time share one line of the log.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

const WITHOUT_COOKIE: &str = "The cookie is missing or wrong. It is in .cookie in the node's data directory and new at each \
    start: curl --user \"$(cat DATADIR/.cookie)\"\n";
const OTHER_HOST: &str = "The Host header must name this machine: localhost, 127.0.0.1 or [::1].\n";
const OTHER_PATH: &str = "There is nothing here: POST to /.\n";
const TOO_SLOW: &str = "The request took too long to arrive.\n";
const CUT_SHORT: &str = "The request ended before its body did.\n";
const BUSY: &str = "Too many requests are being worked on: try again later.\n";

/// What every request is measured by.
pub(super) struct Door {
    cookie: Cookie,
    dispatcher: Dispatcher,
    limits: Limits,
    bodies: Arc<Semaphore>,
    refused: Mutex<Refused>,
}

#[derive(Default)]
struct Refused {
    count: u64,
    said: Option<Instant>,
}

impl Door {
    pub(super) fn new(cookie: Cookie, operations: Arc<dyn Operations>, limits: Limits) -> Self {
        Door {
            cookie,
            dispatcher: Dispatcher { operations, answer_bytes: limits.answer_bytes },
            limits,
            bodies: Arc::new(Semaphore::new(limits.bodies)),
            refused: Mutex::default(),
        }
    }

    /// The answer to one request; `place` is its connection's.
    pub(super) async fn answer(&self, request: Request<Incoming>, place: &Place) -> HttpResponse {
        if let Some(refusal) = self.refusal(&request) {
            return refusal;
        }
        let (parts, body) = request.into_parts();
        let limit = self.limits.body_bytes;
        if body.size_hint().lower() > u64::from(limit) {
            return response::too_large(limit);
        }
        let body = match timeout(self.limits.body, Limited::new(body, limit as usize).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                return response::too_large(limit);
            }
            Ok(Err(_)) => return plain(StatusCode::BAD_REQUEST, CUT_SHORT),
            Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, TOO_SLOW),
        };
        // Without its place the connection is being closed.
        let (Some(_serving), Ok(permit)) = (place.serve(), Arc::clone(&self.bodies).try_acquire_owned())
        else {
            return busy();
        };
        let (dispatcher, limits) = (self.dispatcher.clone(), self.limits);
        // A task of its own: what was begun is ended, also when the client goes away.
        let answering = tokio::spawn(async move {
            let _permit = permit;
            answer_whole(HttpRequest::from_parts(parts, body), dispatcher, &limits).await
        });
        answering.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a call by JSON-RPC was not answered");
            response::internal_error()
        })
    }

    /// Why a request is not read; looks at its head only.
    fn refusal(&self, request: &Request<Incoming>) -> Option<HttpResponse> {
        // A page of another site whose name was made to lead here (DNS rebinding) names that site.
        if !names_this_machine(request) {
            return Some(plain(StatusCode::FORBIDDEN, OTHER_HOST));
        }
        let shown = request.headers().get(AUTHORIZATION);
        if !shown.is_some_and(|header| self.cookie.is_shown_by(header)) {
            self.count_refusal();
            let mut refusal = plain(StatusCode::UNAUTHORIZED, WITHOUT_COOKIE);
            refusal.headers_mut().insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"jsonrpc\", charset=\"UTF-8\""),
            );
            return Some(refusal);
        }
        if request.uri().path() != "/" {
            return Some(plain(StatusCode::NOT_FOUND, OTHER_PATH));
        }
        None
    }

    /// Refusals are said, however many: a flood of them is one line in ten seconds.
    fn count_refusal(&self) {
        let mut refused = self.refused.lock();
        refused.count += 1;
        if refused.said.is_none_or(|said| said.elapsed() >= LOG_INTERVAL) {
            tracing::warn!(refusals = refused.count, "without this run's cookie nobody calls by JSON-RPC");
            *refused = Refused { count: 0, said: Some(Instant::now()) };
        }
    }
}

/// Whether the request was meant for an address of this machine, or for `localhost`.
fn names_this_machine(request: &Request<Incoming>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    // Read as the authority of an address, port and all.
    let host = host.to_str().ok().and_then(|host| host.parse::<hyper::http::uri::Authority>().ok());
    let is_here = |host: &str| {
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        host.eq_ignore_ascii_case("localhost")
            || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    host.is_some_and(|host| is_here(host.host())) && Uri::host(request.uri()).is_none_or(is_here)
}

/// From a whole request to its answer.
async fn answer_whole(request: HttpRequest<Bytes>, dispatcher: Dispatcher, limits: &Limits) -> HttpResponse {
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(Whole(body.clone()));
    let whole = HttpRequest::from_parts(parts, Full::new(body.clone()));
    let batch = BatchRequestConfig::Limit(limits.batch_calls);
    explain(call_with_service(whole, batch, limits.body_bytes, dispatcher).await, &body).await
}

/// The answer to the body of a request that was let in: what the server sends, without HTTP.
pub async fn answer_body(operations: Arc<dyn Operations>, limits: &Limits, body: Vec<u8>) -> Vec<u8> {
    let mut request = HttpRequest::new(Bytes::from(body));
    *request.method_mut() = Method::POST;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let dispatcher = Dispatcher { operations, answer_bytes: limits.answer_bytes };
    let answer = answer_whole(request, dispatcher, limits).await;
    // The whole answer stands in memory.
    answer.into_body().collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default()
}

fn plain(status: StatusCode, text: &'static str) -> HttpResponse {
    let mut response = HttpResponse::new(HttpBody::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn busy() -> HttpResponse {
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, BUSY);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
