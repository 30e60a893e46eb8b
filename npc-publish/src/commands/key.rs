//! `npc-publish key`: makes and shows keys.

use crate::cli::Key;
use crate::console;
use crate::failure::Failure;
use crate::keys;

pub(crate) fn key(command: &Key) -> Result<(), Failure> {
    match command {
        Key::Generate { name, output } => {
            let key = keys::generate(name.as_str())?;
            keys::write(output, &key)?;
            console::say(format_args!("the secret half of {name} is in `{}`", output.display()));
            console::data(key.public())
        }
        Key::Public { file } => console::data(keys::read(file)?.public()),
    }
}
