use blvm_sdk::prelude::*;

struct Watch;

#[module]
impl Watch {
    fn new(_: Start) -> Result<Self, Error> {
        Ok(Watch)
    }

    #[on(BlockConnected)]
    fn block(&self, height: u32) -> u32 {
        height
    }
}

fn main() -> ExitCode {
    blvm_sdk::run::<Watch>()
}
