#!/usr/bin/env bash
# history.sh pull|push BRANCH FOLDER [REMOTE]: a folder of parquet parts kept on a branch of its own.
#
# pull  puts the branch's parts into FOLDER; what is there stays. No such branch yet: FOLDER is empty.
# push  commits FOLDER's parts that the branch lacks, and pushes. Nothing is changed or removed on the branch, so
#       two pushers never conflict: who comes second starts from the other's commit. TRIES (10) times, some seconds
#       apart.
#
# Run inside the clone whose credentials reach REMOTE (origin, or a URL). Its work tree and index are not touched.
set -euo pipefail

fetch() { # the branch's tip into $tip; empty where there is no branch
  tip=
  local found=0
  git ls-remote --exit-code "$remote" "refs/heads/$branch" >"$scratch/tip" || found=$?
  case $found in
    0) git fetch --quiet --no-tags "$remote" "$(cut -f1 "$scratch/tip")" && tip=$(cut -f1 "$scratch/tip") ;;
    2) ;; # reached, and no such branch
    *) return "$found" ;;
  esac
}

pull() {
  fetch
  mkdir -p "$folder"
  if [ -n "$tip" ]; then
    git archive "$tip" | tar --extract --skip-old-files --directory "$folder"
  fi
  echo "$branch: $(parts | wc -l) parts in $folder"
}

parts() { # of the folder, as paths in it; what starts with a dot can be made again
  (cd "$folder" && find . -name '.?*' -prune -o -name '*.parquet' -type f -print) | sed 's|^\./||' | LC_ALL=C sort
}

commit() { # the tip with the folder's new parts, in $made; empty where there are none
  made=
  rm -f "$GIT_INDEX_FILE"
  if [ -n "$tip" ]; then git read-tree "$tip"; fi
  git -c core.quotePath=off ls-files | LC_ALL=C sort >"$scratch/recorded"
  parts | LC_ALL=C comm -13 "$scratch/recorded" - >"$scratch/new"
  if [ -s "$scratch/new" ]; then
    git --work-tree="$folder" update-index --add --stdin <"$scratch/new"
    made=$(git commit-tree "$(git write-tree)" ${tip:+-p "$tip"} -m "$(wc -l <"$scratch/new") parts of $(git rev-parse --short HEAD)")
  fi
}

push() {
  export GIT_INDEX_FILE="$scratch/index"
  export GIT_AUTHOR_NAME="${GIT_AUTHOR_NAME:-resbench}" GIT_AUTHOR_EMAIL="${GIT_AUTHOR_EMAIL:-resbench@localhost}"
  export GIT_COMMITTER_NAME="$GIT_AUTHOR_NAME" GIT_COMMITTER_EMAIL="$GIT_AUTHOR_EMAIL"
  local try
  for try in $(seq "${TRIES:-10}"); do
    if [ "$try" -gt 1 ]; then sleep "$((RANDOM % 3 + 1))"; fi
    if fetch; then
      commit
      if [ -z "$made" ]; then
        echo "$branch: nothing new"
        return
      fi
      if git push --quiet "$remote" "$made:refs/heads/$branch"; then
        echo "$branch: $(wc -l <"$scratch/new") parts more"
        return
      fi
    fi
    echo "$branch: try $try came to nothing" >&2
  done
  return 1
}

if [ $# -lt 3 ] || [ $# -gt 4 ] || { [ "$1" != pull ] && [ "$1" != push ]; }; then
  echo "history.sh pull|push BRANCH FOLDER [REMOTE]" >&2
  exit 2
fi
branch=$2 folder=$3 remote=${4:-origin}
if [ "$1" = push ] && [ ! -d "$folder" ]; then
  echo "history.sh: $folder: no such folder" >&2
  exit 2
fi
top=$(git rev-parse --git-dir)
scratch=$(mktemp -d "$(realpath "$top")/history-XXXXXX")
trap 'rm -rf "$scratch"' EXIT
"$1"
