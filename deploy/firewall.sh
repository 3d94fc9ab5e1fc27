#!/bin/sh
# Who may talk to whom on the engines' network.
#
# An engine runs what a model tells it to. It needs the internet, for its model and for pages, and it must answer the
# orchestrator and the products; it has no business with other engines, the orchestrator's ports, this host, the
# network behind it, or the addresses where clouds hand out credentials. Docker alone does not say that: a bridge with
# icc=false keeps engines apart, but keeps the orchestrator away from them too, and leaves the host and every private
# network open. So the rules stand here, in the chain that Docker asks before its own (DOCKER-USER), and in INPUT.
#
# Whatever comes out of the bridge and is not one of ENGINE_TRUSTED counts as an engine: who is forgotten is locked
# out, not let in. Chains carry the name of their bridge, so that several deployments on one host leave each other alone.
set -eu

usage() {
  cat <<'TEXT'
usage: firewall.sh up | down | status | watch

  up       puts the rules in place, or in order; can be repeated at any time, and before Docker starts
  down     removes them
  status   says whether they stand; exit code 1 where they do not
  watch    up, again and again, until it is told to end; then down, unless something still stands on the bridge

Settings, from the environment (lists: separated by commas or spaces):

  ENGINE_BRIDGE            name of the bridge, september0
  ENGINE_TRUSTED           addresses on it that may reach engines, and are no engines: 10.213.0.2
  ENGINE_ALLOWED_PRIVATE   private addresses that engines may reach: 10.0.3.7:443 (TCP), 10.0.4.0/24 (everything)
  ENGINE_DNS               name servers that containers ask. Default: those in /etc/resolv.conf; where that names none
                           but this host itself, port 53 of every address outside of the bridge and the host
  ENGINE_WATCH_S           how often `watch` looks, seconds: 5

Needs iptables and CAP_NET_ADMIN (CAP_NET_RAW too where the host uses iptables-legacy), in the host's network namespace.
TEXT
}

BRIDGE=${ENGINE_BRIDGE:-september0}
FORWARDED=SEPTEMBER-$BRIDGE
INCOMING=SEPTEMBER-IN-$BRIDGE
# Private and shared networks, link-local (where most clouds keep metadata), loopback, benchmarking, multicast and
# reserved; and two that are none of these: metadata of Oracle's cloud is in 192.0.0.0/24, Azure's at 168.63.129.16.
CLOSED='0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.168.0.0/16
  198.18.0.0/15 224.0.0.0/4 240.0.0.0/4 168.63.129.16/32'

say() { echo "firewall: $*" >&2; }
fail() {
  say "$*"
  exit 1
}
list() { echo "$*" | tr ',' ' '; }

# Docker's rules stand in one of two tables that do not see each other: ours have to be in the same.
choose_iptables() {
  IPTABLES=iptables
  for one in iptables-nft iptables-legacy; do
    if command -v "$one" >/dev/null && "$one" -w 5 -S DOCKER-USER >/dev/null 2>&1; then
      IPTABLES=$one
      break
    fi
  done
  command -v "$IPTABLES" >/dev/null || fail 'iptables is missing: install it, or run the firewall service of compose.yaml'
}
ipt() { "$IPTABLES" -w 5 "$@"; }

# Lines for iptables-restore that let engines reach $3, written HOST[/BITS][:PORT], in chain $1 by target $2.
opened() {
  case $3 in
    *:*) echo "-A $1 -i $BRIDGE -d ${3%:*} -p tcp --dport ${3##*:} -j $2" ;;
    *) echo "-A $1 -i $BRIDGE -d $3 -j $2" ;;
  esac
}

dns() { printf -- "-A $1 -i $BRIDGE -d $3 -p %s --dport 53 -j $2\n" udp tcp; }

# The name servers that Docker's resolver asks on behalf of containers; empty where this host only names itself.
name_servers() {
  [ -n "${ENGINE_DNS:-}" ] && { list "$ENGINE_DNS"; return; }
  sed -n 's/^nameserver[[:space:]]*\([0-9.]*\)$/\1/p' /etc/resolv.conf | grep -v '^127\.' || true
}

rules() {
  trusted=$(list "${ENGINE_TRUSTED:-10.213.0.2}")
  allowed=$(list "${ENGINE_ALLOWED_PRIVATE:-}")
  servers=$(name_servers)

  echo '*filter'
  echo ":$FORWARDED - [0:0]"
  echo ":$INCOMING - [0:0]"

  echo "-A $FORWARDED ! -i $BRIDGE ! -o $BRIDGE -j RETURN"
  echo "-A $FORWARDED -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
  for one in $trusted; do
    echo "-A $FORWARDED -i $BRIDGE -o $BRIDGE -s $one -j ACCEPT"
    echo "-A $FORWARDED -i $BRIDGE -s $one -j RETURN"
    echo "-A $FORWARDED ! -i $BRIDGE -o $BRIDGE -d $one -j RETURN"
  done
  for one in $allowed; do opened "$FORWARDED" ACCEPT "$one"; done
  # Docker publishes ports by letting everybody route to them, whatever address of the host they are bound to.
  echo "-A $FORWARDED -o $BRIDGE -j DROP"
  for one in ${servers:-0.0.0.0/0}; do dns "$FORWARDED" RETURN "$one"; done
  for one in $CLOSED; do echo "-A $FORWARDED -i $BRIDGE -d $one -j DROP"; done

  echo "-A $INCOMING ! -i $BRIDGE -j RETURN"
  echo "-A $INCOMING -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"
  for one in $trusted; do echo "-A $INCOMING -s $one -j RETURN"; done
  for one in $allowed; do opened "$INCOMING" RETURN "$one"; done
  for one in $servers; do dns "$INCOMING" RETURN "$one"; done
  echo "-A $INCOMING -j DROP"
  echo COMMIT
}

# Where the jump from chain $1 to $2 stands among the rules of $1; nothing where it is missing.
places() { ipt -S "$1" | grep '^-A' | grep -nx -- "-A $1 -j $2" | cut -d: -f1; }

# The jump is there once, and nothing but jumps of other deployments stands before it.
hook() {
  before=$(ipt -S "$1" | grep '^-A' | sed "/^-A $1 -j $2\$/,\$d" | grep -cv -- '-j SEPTEMBER-' || true)
  first=$(places "$1" "$2" | head -n 1)
  if [ -z "$first" ] || [ "$before" -gt 0 ]; then ipt -I "$1" 1 -j "$2"; fi
  # The last first, or the numbers of those behind it would change.
  for place in $(places "$1" "$2" | sed 1d | sort -rn); do ipt -D "$1" "$place"; done
}

unhook() {
  for place in $(places "$1" "$2" | sort -rn); do ipt -D "$1" "$place"; done
}

# Without this, packets between two containers of one bridge pass no rule at all. Docker switches it on itself for a
# bridge with icc=false.
same_bridge_is_filtered() { [ "$(cat /proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null)" = 1 ]; }

up() {
  choose_iptables
  # In one piece: at no moment is there a chain that is half full.
  rules | "$IPTABLES-restore" -w 5 --noflush || fail 'the rules were refused: see the line above, and the settings in firewall.sh --help'
  ipt -S DOCKER-USER >/dev/null 2>&1 || ipt -N DOCKER-USER
  hook DOCKER-USER "$FORWARDED"
  hook INPUT "$INCOMING"
}

down() {
  choose_iptables
  for pair in "DOCKER-USER $FORWARDED" "INPUT $INCOMING"; do
    set -- $pair
    ipt -S "$2" >/dev/null 2>&1 || continue
    unhook "$1" "$2"
    ipt -F "$2"
    ipt -X "$2"
  done
}

status() {
  choose_iptables
  same_bridge_is_filtered || fail 'packets inside a bridge pass no rules: sysctl net.bridge.bridge-nf-call-iptables=1'
  [ -n "$(places DOCKER-USER "$FORWARDED" 2>/dev/null)" ] || fail "the rules of $BRIDGE do not stand: firewall.sh up"
  [ -n "$(places INPUT "$INCOMING" 2>/dev/null)" ] || fail "the rules of $BRIDGE for this host do not stand: firewall.sh up"
  [ -n "$(name_servers)" ] || say "engines reach port 53 anywhere, as this host's resolver is the host itself: name the servers with ENGINE_DNS"
  say "the rules of $BRIDGE stand ($IPTABLES)"
}

# Whatever stands on the bridge: engines, mostly.
bridge_is_used() { [ -n "$(ls "/sys/class/net/$BRIDGE/brif" 2>/dev/null)" ]; }

end_watch() {
  if bridge_is_used; then
    say "ends; the rules stay, as there is something on $BRIDGE"
  else
    down
    say "ends; nothing is on $BRIDGE, the rules are removed"
  fi
  exit 0
}

watch() {
  trap end_watch TERM INT
  up
  say "keeps the rules of $BRIDGE ($IPTABLES)"
  # Docker starting anew, firewalld or a person may have removed or overtaken them.
  while :; do
    sleep "${ENGINE_WATCH_S:-5}" &
    wait $! || true
    up
  done
}

case ${1:-} in
  up | down | status | watch) "$1" ;;
  -h | --help) usage ;;
  *)
    usage >&2
    exit 64
    ;;
esac
