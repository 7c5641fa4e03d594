use blvm_sdk::prelude::*;

struct Watch;

#[module]
impl Watch {
    fn new(_: Start) -> Result<Self, Error> {
        Ok(Watch)
    }

    #[on(BlockConnected)]
    fn block(&self, heigth: u32) {
        let _ = heigth;
    }
}

fn main() -> ExitCode {
    blvm_sdk::run::<Watch>()
}
