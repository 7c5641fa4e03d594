//! Prints every block that joins the chain.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

use blvm_sdk::prelude::*;
use blvm_sdk::serde::Deserialize;

/// What `config.toml` may say. A key that is not here is an error, and a key that is left out has its value from `default`.
#[derive(Deserialize)]
#[serde(crate = "blvm_sdk::serde", default, deny_unknown_fields)]
struct Settings {
    /// Blocks with fewer transactions are counted, and not printed.
    min_transactions: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            min_transactions: 1,
        }
    }
}

/// What the module keeps between events. Handlers run on several threads and share it.
struct Blocks {
    settings: Settings,
    count: AtomicU64,
}

#[module(config = Settings)]
impl Blocks {
    /// Runs first. An error here ends the module before any event comes.
    fn new(start: Start<Settings>) -> Result<Self, Error> {
        println!("attached to a node on {}", start.network);
        Ok(Blocks {
            settings: start.settings,
            count: AtomicU64::new(0),
        })
    }

    /// Runs for each block that joins the chain, in order. It takes the fields of the event that it names.
    #[on(BlockConnected)]
    fn block(&self, height: u32, transactions: u32) {
        self.count.fetch_add(1, Ordering::Relaxed);
        if transactions >= self.settings.min_transactions {
            println!("{}", describe(height, transactions));
        }
    }

    /// Says how many blocks were seen.
    #[command]
    fn status(&self) -> String {
        format!(
            "{} blocks since the start",
            self.count.load(Ordering::Relaxed)
        )
    }
}

/// What is printed of a block.
fn describe(height: u32, transactions: u32) -> String {
    let plural = if transactions == 1 { "" } else { "s" };
    format!("block at height {height}: {transactions} transaction{plural}")
}

fn main() -> ExitCode {
    blvm_sdk::run::<Blocks>()
}

#[cfg(test)]
mod tests {
    use blvm_sdk::testing::TestNode;

    use super::*;

    #[test]
    fn blocks_are_counted_and_the_command_says_how_many() {
        let node = TestNode::start();
        let module = node
            .module::<Blocks>()
            .settings("min_transactions = 2")
            .start()
            .unwrap();
        node.mine(3);
        // Until all that was published is handled.
        module.settle();
        assert_eq!(
            module.command(["status"]).output,
            "3 blocks since the start\n"
        );
        module.stop().unwrap();
    }

    #[test]
    fn one_transaction_is_no_plural() {
        assert_eq!(describe(1, 1), "block at height 1: 1 transaction");
        assert_eq!(describe(2, 3), "block at height 2: 3 transactions");
    }
}
