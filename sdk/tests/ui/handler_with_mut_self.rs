use blvm_sdk::prelude::*;

struct Watch;

#[module]
impl Watch {
    fn new(_: Start) -> Result<Self, Error> {
        Ok(Watch)
    }

    #[on(BlockConnected)]
    fn block(&mut self, height: u32) {
        let _ = height;
    }

    #[every("10s")]
    fn tick() {}
}

fn main() -> ExitCode {
    blvm_sdk::run::<Watch>()
}
