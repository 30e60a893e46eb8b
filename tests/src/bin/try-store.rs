//! Tries what is asked for at a store, with the credentials in the environment, and says how each attempt ends:
//! `try-store URL read:trust/1.json list:reports/ …` says `ok`, or the kind of the fault, a line each.

#![expect(clippy::print_stdout, reason = "the answer is its output")]

use std::error::Error;

use npc_core::store::{Content, Options, Precondition, Read, Store, StoreError, open, read_document};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("name a store")?.parse()?;
    let store = open(&url, Options::default()).await?;
    for attempt in arguments {
        let (what, path) = attempt.split_once(':').ok_or("an attempt is WHAT:PATH")?;
        if what == "show" {
            show(&*store, path).await?;
            continue;
        }
        let ended = attempt_at(&*store, what, path).await?;
        println!("{}", ended.map_or_else(|error| error.fault.kind(), |()| "ok"));
    }
    Ok(())
}

/// Says what an object holds, in place of `ok`.
async fn show(store: &dyn Store, path: &str) -> Result<(), Box<dyn Error>> {
    match read_document(store, &path.parse()?).await {
        Ok((bytes, _)) => print!("{}", String::from_utf8(bytes.to_vec())?),
        Err(error) => println!("{}", error.fault.kind()),
    }
    Ok(())
}

async fn attempt_at(store: &dyn Store, what: &str, path: &str) -> Result<Result<(), StoreError>, Box<dyn Error>> {
    if what == "list" {
        return Ok(store.list(path).await.map(drop));
    }
    let key = path.parse()?;
    let content = Content::Bytes(b"written by somebody who tried");
    Ok(match what {
        "read" => store.read(&key, Read::DOCUMENT).await.map(drop),
        "open" => store.open(&key, 0, None).await.map(drop),
        "write" => store.write(&key, content, Precondition::None).await.map(drop),
        "create" => store.write(&key, content, Precondition::Absent).await.map(drop),
        "remove" => store.remove(&key).await,
        other => return Err(format!("`{other}` is nothing that can be tried").into()),
    })
}
