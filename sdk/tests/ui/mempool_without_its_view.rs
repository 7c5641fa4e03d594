use blvm_sdk::prelude::*;

struct Watch;

#[module]
impl Watch {
    fn new(_: Start) -> Result<Self, Error> {
        Ok(Watch)
    }

    #[on_mempool]
    fn changed(&self) {}
}

fn main() -> ExitCode {
    blvm_sdk::run::<Watch>()
}
