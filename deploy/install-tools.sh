#!/usr/bin/env bash
# Installs what is missing of the named programs, and says what it does: install-tools.sh PROGRAM...
#
# Debian and its kin: apt-get, as root or through sudo. Elsewhere, and where neither works, it says the command to run
# and goes on: what needs a missing program skips itself with a reason. Always ends with 0.
set -u

# Program, as it is called -> its package in nixpkgs, those in Debian.
packages() {
  case $1 in
    cc) echo gcc gcc libc6-dev ;;
    etcd) echo etcd etcd-server ;;
    redis-server) echo redis redis-server ;;
    nginx) echo nginx nginx-light ;;
    ip) echo iproute2 iproute2 ;;
    nft) echo nftables nftables ;;
    ps) echo procps procps ;;
    python3-venv) echo python3 python3-venv ;;
    c++) echo gcc g++ ;;
    nix-instantiate) echo nix nix-bin ;;
    systemd-analyze) echo systemd systemd ;;
    # Only its terminal recorder is needed, and Debian has that in bsdutils, which is always there.
    script) echo util-linux bsdutils ;;
    # promtool comes with it.
    prometheus) echo prometheus prometheus ;;
    # The bindings to llama.cpp are made by reading its headers.
    libclang) echo llvmPackages.libclang libclang-dev clang ;;
    *) echo "$1 $1" ;;
  esac
}

is_there() {
  case $1 in
    python3-venv) python3 -c 'import venv, ensurepip' 2>/dev/null ;;
    # Where deploy/scope.sh looks as well.
    libclang) [ -n "${LIBCLANG_PATH:-}" ] || find /usr/lib -maxdepth 3 \( -name 'libclang.so*' -o -name 'libclang-[0-9]*.so*' \) | grep -q . ;;
    # nginx, ip and nft are for root, and not on everybody's PATH.
    *) PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null ;;
  esac
}

debian=() nix=() missing=()
for program in "$@"; do
  is_there "$program" && continue
  read -r in_nix in_debian <<<"$(packages "$program")"
  read -ra in_debian <<<"$in_debian"
  missing+=("$program") nix+=("$in_nix") debian+=("${in_debian[@]}")
done
if [ ${#missing[@]} = 0 ]; then
  echo "tools: all there ($*)"
  exit 0
fi

echo "tools: missing: ${missing[*]}"
if ! command -v apt-get >/dev/null; then
  if command -v nix-shell >/dev/null; then
    echo "tools: not installed here; to have them: nix-shell -p ${nix[*]}"
  else
    echo "tools: no apt-get here; install them as this system does, then run this again"
  fi
  exit 0
fi

as_root=()
if [ "$(id -u)" != 0 ]; then
  as_root=(sudo)
  # Without a terminal nobody can type a password.
  [ -t 0 ] || as_root=(sudo -n)
fi
by_hand="apt-get update && apt-get install -y --no-install-recommends ${debian[*]}"
if [ ${#as_root[@]} != 0 ] && ! "${as_root[@]}" true 2>/dev/null; then
  echo "tools: neither root nor sudo; to have them, as root: $by_hand"
  exit 0
fi

echo "tools: installs the Debian packages ${debian[*]}"
install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${debian[@]}"
}
# Debian starts services of what it installs unless a policy says no; nothing here uses them. A policy that is there stays.
log=$(mktemp) policy=/usr/sbin/policy-rc.d own_policy=
if [ ! -e "$policy" ] && printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" env install -m 755 /dev/stdin "$policy"; then
  own_policy=$policy
fi
cleared() {
  rm -f "$log"
  [ -z "$own_policy" ] || "${as_root[@]}" rm -f "$own_policy"
}
trap cleared EXIT
if install >"$log" 2>&1 || { "${as_root[@]}" apt-get update -q && install; } >"$log" 2>&1; then
  echo "tools: installed. Services of them were not started, but Debian starts them with the machine (systemctl disable NAME)"
else
  tail -n 5 "$log"
  echo "tools: could not install them; what needs them is skipped. By hand, as root: $by_hand"
fi
exit 0
