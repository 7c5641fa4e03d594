use blvm_sdk::prelude::*;

struct Watch;

#[module]
impl Watch {
    fn new(_: Start) -> Result<Self, Error> {
        Ok(Watch)
    }

    #[on(BlockConnected, parallel)]
    fn block(&self) {}

    #[on]
    fn nothing(&self) {}
}

fn main() -> ExitCode {
    blvm_sdk::run::<Watch>()
}
