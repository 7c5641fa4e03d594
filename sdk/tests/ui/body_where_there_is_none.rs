use blvm_sdk::prelude::*;

struct Watch;

#[module]
impl Watch {
    fn new(_: Start) -> Result<Self, Error> {
        Ok(Watch)
    }

    #[on(BlockDisconnected)]
    fn block(&self, body: BlockBytes<'_>) {
        let _ = body;
    }
}

fn main() -> ExitCode {
    blvm_sdk::run::<Watch>()
}
