//! The branch that a folder's git repository is on, read from its `HEAD`: that needs no git here.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use base::{Code, Fault, Result};

/// More than any `HEAD` has.
const MOST_BYTES: u64 = 4096;

/// The branch of the repository that `folder` lies in.
pub fn branch(folder: &Path) -> Result<String> {
    let could_not = |error| Fault::invalid(format!("could not look at `{}`", folder.display())).because(error);
    let real = fs::canonicalize(folder).map_err(|error| could_not(error).hint("look at the path and its rights"))?;
    let Some(git) = real.ancestors().find_map(git_dir) else {
        let what = format!("`{}` lies in no git repository", real.display());
        return Err(Fault::new(Code::NotFound, what).hint("go to one, or name the tag yourself"));
    };
    let head = read(&git.join("HEAD")).map_err(|error| could_not(error).hint("see what `git status` says there"))?;
    match head.trim().strip_prefix("ref: refs/heads/") {
        // With some ways to keep branches git writes this instead of one.
        Some(branch) if branch != ".invalid" => Ok(branch.to_owned()),
        _ => Err(Fault::invalid(format!("the git repository of `{}` is on no branch", real.display()))
            .hint("switch to one, or name the tag yourself")),
    }
}

/// Where the repository of a folder keeps what is its own: in `.git`, or where a file of that name says.
fn git_dir(folder: &Path) -> Option<PathBuf> {
    let git = folder.join(".git");
    match git.is_dir() {
        true => Some(git),
        false => Some(folder.join(read(&git).ok()?.trim().strip_prefix("gitdir:")?.trim())),
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(MOST_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_is_found_from_any_folder_of_the_repository_and_of_its_worktrees() {
        let home = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = home.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("shed/.git/HEAD", "ref: refs/heads/feature/door\n");
        put("shed/.git/worktrees/roof/HEAD", "ref: refs/heads/roof\n");
        put("shed/src/deep/main.rs", "");
        put("roof/.git", &format!("gitdir: {}\n", home.path().join("shed/.git/worktrees/roof").display()));
        put("old/.git/HEAD", "46e0c10c039e019119339687c3c1757cc81b9da49709a3b3924863ba87ca666e\n");
        put("table/.git/HEAD", "ref: refs/heads/.invalid\n");
        let at = |folder: &str| branch(&home.path().join(folder));
        assert_eq!(at("shed/src/deep").unwrap(), "feature/door");
        assert_eq!(at("roof").unwrap(), "roof");
        for folder in ["old", "table", "nowhere"] {
            assert_eq!(at(folder).unwrap_err().code, Code::InvalidArgument, "{folder}");
        }
    }

    #[test]
    fn a_folder_without_a_repository_is_told() {
        let fault = branch(Path::new("/")).unwrap_err();
        assert_eq!((fault.code, fault.message.as_str()), (Code::NotFound, "`/` lies in no git repository"));
    }
}
