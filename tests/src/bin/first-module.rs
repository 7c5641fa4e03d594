//! Test helper: the first module of the README, word for word.
#![forbid(unsafe_code)]

use blvm_sdk::{Chain, ChainEvent, Missed, Session, Topics, Wait};

fn main() -> Result<(), blvm_sdk::SessionError> {
    let mut session = Session::attach(Topics::new().with::<Chain>(), Wait::SpinThenPark)?;
    let mut chain = session.feed::<Chain>()?;
    while !chain.is_closed() && !session.is_stopping() {
        match chain.poll() {
            Ok(Some(sample)) => {
                if let Ok(ChainEvent::BlockConnected(block)) = sample.event() {
                    eprintln!("block at height {}", block.height);
                }
            }
            Ok(None) => session.wait(&[&chain])?,
            Err(Missed { messages }) => eprintln!("{messages} messages missed"),
        }
    }
    session.finish(&[&chain])
}
