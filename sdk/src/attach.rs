//! Attaching by path: for programs that the node has not started.

use std::os::unix::net::UnixStream;
use std::path::Path;

use blvm_bus::request::{Reply, Request, Token, connect_path};

use crate::client::{CallError, Client};
use crate::session::{Session, SessionError, Wait};
use crate::topics::Topics;

impl Session {
    /// Attaches to the node whose data directory is `datadir`, as a program that may read everything and change nothing.
    ///
    /// The token stands in the file [`TOKEN_NAME`](crate::TOKEN_NAME) of that directory, for the node's user to read
    /// ([`Token::read`]), and is another one after each start of the node. Such a session has no leases: the body of every
    /// block is `Body::Gone`, fetched by request.
    ///
    /// # Errors
    ///
    /// [`SessionError::Connect`] if no node listens there. A wrong token and a node that takes nobody more are refusals.
    pub fn attach_path(
        datadir: &Path,
        token: &Token,
        topics: Topics,
        wait: Wait,
    ) -> Result<Self, SessionError> {
        let socket = connect_path(datadir)
            .map_err(|source| SessionError::Connect { path: datadir.to_owned(), source })?;
        Session::authenticate(socket, token, topics, wait)
    }

    /// As [`Session::attach_path`], over a socket that is connected.
    pub(crate) fn authenticate(
        socket: UnixStream,
        token: &Token,
        topics: Topics,
        wait: Wait,
    ) -> Result<Self, SessionError> {
        let mut client = Client::new(socket);
        match client.call(&Request::Authenticate { token: token.clone() })?.reply {
            Reply::Authenticated => Session::agree(client, None, topics, wait),
            _ => Err(CallError::Unexpected { request: "authenticate" }.into()),
        }
    }
}
