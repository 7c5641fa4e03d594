//! A module's program beside the node: attached by path, and again whenever the node comes back.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Module;
use super::observer::Observer;
use super::serve::{Callee, RunError, topics, work};
use crate::client::CallError;
use crate::config;
use crate::log::{Level, say};
use crate::session::{Session, SessionError};
use crate::{Refusal, TOKEN_NAME, Token};

/// The first pause before attaching again; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Who was attached for so long begins with the first pause again.
const SETTLED: Duration = Duration::from_secs(1);

/// Runs module `M` in a program that no node has started: attached by path to the node whose data directory is `datadir`, with
/// `config` as its configuration (TOML).
///
/// When the node ends or is not there it tries again, after 100 ms first and 10 s at most. With each node the module is built
/// anew, as one that a node starts: what it keeps beyond that it keeps in files. It may read everything and change nothing: no
/// leases, so the bytes of every block are fetched by request; no methods and no commands.
///
/// # Errors
///
/// It returns only with what no node that comes back would change: [`RunError`].
pub fn run_by_path<M: Module>(datadir: &Path, config: &str) -> RunError {
    let attach = || {
        let session = attach::<M>(datadir)?;
        say(Level::Info, format_args!("{}: attached to the node in {}", M::NAME, datadir.display()));
        Ok(session)
    };
    let work = |session| {
        let settings = config::read(config, &[], M::NAME)?;
        work::<M>(session, settings, false, Observer::default(), Callee::default())
    };
    run_again::<M>(attach, work, |pause| {
        std::thread::sleep(pause);
        true
    })
    .expect("every pause is followed by another attempt")
}

/// Attaches and works, again and again, until that fails with what no node changes. Pauses with `pause`, and ends where that says
/// so.
pub(crate) fn run_again<M: Module>(
    mut attach: impl FnMut() -> Result<Session, RunError>,
    mut work: impl FnMut(Session) -> Result<(), RunError>,
    mut sleep: impl FnMut(Duration) -> bool,
) -> Option<RunError> {
    let mut pause = FIRST_PAUSE;
    let mut is_said = false;
    loop {
        let outcome = attach().and_then(|session| {
            is_said = false;
            let begin = Instant::now();
            let outcome = work(session);
            if begin.elapsed() >= SETTLED {
                pause = FIRST_PAUSE;
            }
            outcome
        });
        match outcome {
            Ok(()) => say(Level::Info, format_args!("{}: the node has ended", M::NAME)),
            Err(error) if !passes(&error) => return Some(error),
            // Once is enough for a node that is not there.
            Err(error) if !is_said => say(Level::Info, format_args!("{}: {error}; trying again", M::NAME)),
            Err(_) => {}
        }
        is_said = true;
        if !sleep(pause) {
            return None;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn attach<M: Module>(datadir: &Path) -> Result<Session, RunError> {
    let token = Token::read(&datadir.join(TOKEN_NAME)).map_err(|source| RunError::Token { source })?;
    Ok(Session::attach_path(datadir, &token, topics::<M>(), M::WAIT)?)
}

/// Whether a node that starts again, or another moment, may change it.
fn passes(error: &RunError) -> bool {
    match error {
        // Written anew by each node, before it listens.
        RunError::Token { source: crate::TokenError::Read(error) } => error.kind() == ErrorKind::NotFound,
        RunError::Token { .. } => true,
        RunError::Session(SessionError::Connect { .. } | SessionError::Park(_)) => true,
        RunError::Session(SessionError::Call(error)) => match error {
            CallError::Closed | CallError::Socket(_) => true,
            CallError::Refused(refusal) => {
                matches!(refusal, Refusal::Token { .. } | Refusal::TooManyPeers { .. })
            }
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn what_a_node_that_comes_back_changes_is_tried_again_and_nothing_else() {
        let call = |error| RunError::Session(SessionError::Call(error));
        let read = |kind: ErrorKind| RunError::Token { source: crate::TokenError::Read(kind.into()) };
        assert!(passes(&call(CallError::Closed)));
        assert!(passes(&call(CallError::Socket(ErrorKind::BrokenPipe.into()))));
        assert!(passes(&call(CallError::Refused(Refusal::TooManyPeers { limit: 8 }))));
        assert!(passes(&read(ErrorKind::NotFound)));
        assert!(!passes(&read(ErrorKind::PermissionDenied)));
        assert!(!passes(&call(CallError::Unexpected { request: "hello" })));
        assert!(!passes(&RunError::New { error: super::super::Error::new("no") }));
    }
}
