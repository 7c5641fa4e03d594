//! JSON-RPC 2.0 over HTTP, for operators on this machine.
//!
//! ```text
//! connection ─ places ─ head in time ─ host, cookie ─ body in time ─ jsonrpsee ─ method ─ Operations
//! ```
//!
//! | file | what |
//! |---|---|
//! | `server` | listening, connections, the end |
//! | `places` | how many connections, and who makes room |
//! | `door` | what a request must show before it is read |
//! | `cookie` | the secret of one run |
//! | `dispatch` | calls, batches and notifications |
//! | `method` | the methods, their parameters, and what they ask for |
//! | `parameters` | by name, or in the documented order |
//! | `error` | codes |
//! | `explain` | what is wrong with an invalid request |
//! | `limits` | how much, how long |

mod cookie;
mod dispatch;
mod door;
pub mod error;
mod explain;
mod limits;
mod method;
mod parameters;
mod places;
mod server;

pub use cookie::{COOKIE_NAME, USER, authorization};
pub use dispatch::{Answering, Operations};
pub use door::answer_body;
pub use limits::Limits;
pub use method::{Call, METHODS, Method, Parameter, ParameterKind};
pub use server::{ADDRESS_NAME, ServeError, Server, ServerOptions};
