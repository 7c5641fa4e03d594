//! Prints every block that joins the chain.
#![forbid(unsafe_code)]

use blvm_sdk::{Chain, ChainEvent, Missed, Session, SessionError, Topics, Wait};

fn main() -> Result<(), SessionError> {
    // The topics it reads; `capabilities` in module.toml asks for the permission.
    let mut session = Session::attach(Topics::new().with::<Chain>(), Wait::SpinThenPark)?;
    let mut chain = session.feed::<Chain>()?;
    eprintln!("attached to a node on {}", session.network());
    // Until the node asks it to end, or is gone.
    while !chain.is_closed() && !session.is_stopping() {
        match chain.poll() {
            Ok(Some(sample)) => {
                if let Ok(ChainEvent::BlockConnected(block)) = sample.event() {
                    println!("{}", describe(block.height.into(), block.transactions.into()));
                }
            }
            Ok(None) => session.wait(&[&chain])?,
            Err(Missed { messages }) => eprintln!("{messages} messages missed"),
        }
    }
    session.finish(&[&chain])
}

/// What is printed of a block.
fn describe(height: u32, transactions: u32) -> String {
    let plural = if transactions == 1 { "" } else { "s" };
    format!("block at height {height}: {transactions} transaction{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_transaction_is_no_plural() {
        assert_eq!(describe(1, 1), "block at height 1: 1 transaction");
        assert_eq!(describe(2, 3), "block at height 2: 3 transactions");
    }
}
