use blvm_sdk::prelude::*;

struct Watch;

#[module]
impl Watch {
    fn new(_: Start) -> Result<Self, Error> {
        Ok(Watch)
    }

    #[on_missed]
    fn missed(&self, count: u64) {
        let _ = count;
    }
}

fn main() -> ExitCode {
    blvm_sdk::run::<Watch>()
}
