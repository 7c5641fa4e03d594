use blvm_sdk::prelude::*;

struct Watch;

#[module]
impl Watch {
    fn new(_: Start) -> Result<Self, Error> {
        Ok(Watch)
    }

    #[on(BlockConnected)]
    fn block(&self, height: u64, hash: &str) {
        let _ = (height, hash);
    }

    #[on(TransactionAdded)]
    fn transaction(&self, fee_sat: Option<u64>) {
        let _ = fee_sat;
    }
}

fn main() -> ExitCode {
    blvm_sdk::run::<Watch>()
}
