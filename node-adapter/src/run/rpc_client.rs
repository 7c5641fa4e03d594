//! Asking a running node by JSON-RPC.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use jsonrpsee_server::types::{ErrorObjectOwned, Response, ResponsePayload};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::RunError;
use super::assembly::data_directory_of;
use super::cli::NodeArguments;
use crate::embedded::Network;
use crate::rpc::{ADDRESS_NAME, COOKIE_NAME, authorization};

/// How long an answer may take: modules are started and stopped within their own deadlines, one after another.
const DEADLINE: Duration = Duration::from_secs(600);

/// Why a running node did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// Nobody listens.
    #[error(
        "no node runs on {}, or it was started with --no-rpc: start one with blvm run, or name its directory with --datadir",
        path.display()
    )]
    NotRunning {
        /// The data directory.
        path: PathBuf,
    },
    /// Cookie or address cannot be read.
    #[error("{} cannot be read: only the node's user may", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection failed.
    #[error("the node at {address} ended the connection; does it still run?")]
    Connection {
        /// Where it listens.
        address: SocketAddr,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// It took too long.
    #[error("the node has not answered within {} s; it may still do what it was asked", DEADLINE.as_secs())]
    Late,
    /// The server did not let the request in.
    #[error("the node at {address} answers {status}: {text}")]
    Refused {
        /// Where it listens.
        address: SocketAddr,
        /// Status of HTTP.
        status: StatusCode,
        /// What it said.
        text: String,
    },
    /// The result is something else than this program expects.
    #[error("the node's answer cannot be read; is it of another version than this program?")]
    Other(#[source] serde_json::Error),
    /// The method failed.
    #[error("{} ({})", _0.message(), _0.code())]
    Failed(ErrorObjectOwned),
}

/// A running node, as its data directory tells of it.
#[derive(Debug)]
pub(super) struct Client {
    address: SocketAddr,
    authorization: HeaderValue,
    directory: PathBuf,
}

impl Client {
    /// The node of the directory or network that `arguments` name. Asks nothing yet.
    pub(super) fn of(arguments: &NodeArguments) -> Result<Self, RunError> {
        let directory = directory_of(arguments)?;
        Ok(Client::at(&directory)?)
    }

    fn at(directory: &Path) -> Result<Self, AskError> {
        let failed = |name: &str, source: io::Error| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                AskError::NotRunning { path: directory.to_owned() }
            }
            _ => AskError::File { path: directory.join(name), source },
        };
        let text = std::fs::read_to_string(directory.join(ADDRESS_NAME));
        let text = text.map_err(|source| failed(ADDRESS_NAME, source))?;
        let address =
            text.trim_end().parse().map_err(|error| failed(ADDRESS_NAME, io::Error::other(error)))?;
        let authorization = authorization(directory).map_err(|source| failed(COOKIE_NAME, source))?;
        Ok(Client { address, authorization, directory: directory.to_owned() })
    }

    /// The result of `method`.
    pub(super) async fn ask(&self, method: &str, params: Value) -> Result<Value, AskError> {
        let body = json!({ "jsonrpc": "2.0", "id": 0, "method": method, "params": params });
        let asked = timeout(DEADLINE, self.post(body.to_string())).await;
        let (status, answer) = asked.map_err(|_| AskError::Late)??;
        let said = |text| AskError::Refused { address: self.address, status, text };
        match serde_json::from_slice::<Response<'_, Value>>(&answer) {
            Ok(Response { payload: ResponsePayload::Success(result), .. }) => Ok(result.into_owned()),
            Ok(Response { payload: ResponsePayload::Error(error), .. }) => {
                Err(AskError::Failed(error.into_owned()))
            }
            Err(_) => Err(said(String::from_utf8_lossy(&answer).trim().chars().take(300).collect())),
        }
    }

    async fn post(&self, body: String) -> Result<(StatusCode, Bytes), AskError> {
        let failed = |source| AskError::Connection { address: self.address, source };
        // What a killed node has left names nobody.
        let stream = TcpStream::connect(self.address).await;
        let stream = stream.map_err(|_| AskError::NotRunning { path: self.directory.clone() })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        // It ends with the answer; what is wrong with it comes out there.
        tokio::spawn(connection);
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = hyper::Method::POST;
        let host = HeaderValue::from_str(&self.address.to_string());
        let headers = request.headers_mut();
        headers.insert(HOST, host.unwrap_or(HeaderValue::from_static("localhost")));
        headers.insert(AUTHORIZATION, self.authorization.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let answer = sender.send_request(request).await.map_err(failed)?;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await.map_err(failed)?.to_bytes()))
    }
}

/// The data directory that `arguments` name.
pub(super) fn directory_of(arguments: &NodeArguments) -> Result<PathBuf, RunError> {
    data_directory_of(arguments.datadir.as_deref(), arguments.network.unwrap_or(Network::Regtest))
}
