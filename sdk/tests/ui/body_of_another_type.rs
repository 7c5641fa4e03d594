use blvm_sdk::prelude::*;

struct Watch;

#[module]
impl Watch {
    fn new(_: Start) -> Result<Self, Error> {
        Ok(Watch)
    }

    #[on(BlockConnected)]
    fn block(&self, body: Reorganisation<'_>) {
        let _ = body;
    }
}

fn main() -> ExitCode {
    blvm_sdk::run::<Watch>()
}
