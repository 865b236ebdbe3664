import ipaddr from 'ipaddr.js';

/** Which addresses beyond the public ones polony may call. */
export interface NetworkPolicy {
  /** Private networks: RFC 1918, loopback, shared address space (RFC 6598) and unique local addresses. */
  allowPrivate: boolean;
  /** Networks in CIDR notation that polony may always call. */
  allowedNetworks: readonly string[];
}

/** Ranges that `allowPrivate` opens, as ipaddr.js names them (IANA's special-purpose address registries). */
const PRIVATE = new Set(['private', 'loopback', 'carrierGradeNat', 'uniqueLocal']);
/** Metadata services of clouds in private ranges, which answer with credentials: AWS over IPv6, Alibaba Cloud. */
const METADATA = ['fd00:ec2::/32', '100.100.100.200/32'];

type Address = ipaddr.IPv4 | ipaddr.IPv6;

function within(address: Address, network: string): boolean {
  const [range, bits] = ipaddr.parseCIDR(network);
  return range.kind() === address.kind() && address.match(range, bits);
}

/**
 * The address that a connection reaches: IPv4 in IPv6 notation (mapped, RFC 4291; NAT64, RFC 6052) is the IPv4 address.
 */
function parseReachedAddress(text: string): Address {
  // ipaddr.js treats the IPv4-compatible form (::8.8.8.8, deprecated by RFC 4291) as IPv4, but connections do not.
  const address = ipaddr.process(text.replace(/^::(?=\d+\.)/, '0:0:0:0:0:0:'));
  if (address.kind() === 'ipv6' && address.range() === 'rfc6052')
    return ipaddr.fromByteArray(address.toByteArray().slice(12));
  return address;
}

/** Whether a text is a network in CIDR notation. */
export function isNetwork(text: string): boolean {
  return ipaddr.isValidCIDR(text);
}

/** Whether polony may call an address. */
export interface AddressVerdict {
  /** Whether it is an address of the public internet. */
  isPublic: boolean;
  /** Why polony must not call it; undefined when it may. */
  refusal?: string;
}

/**
 * Judges whether polony may call an address: public addresses always, private addresses if the policy allows them. It
 * may call link-local (metadata services of clouds), multicast and reserved addresses only if a network of the policy
 * contains them.
 * @param text an IPv4 or IPv6 address as the resolver writes it, without brackets
 */
export function judgeAddress(text: string, policy: NetworkPolicy): AddressVerdict {
  const plain = text.replace(/%.*$/, '');
  if (!ipaddr.isValid(plain)) return { isPublic: false, refusal: `${text.slice(0, 60)} is not an IP address` };
  const address = parseReachedAddress(plain);
  const range = address.range();
  // The internet uses only 2000::/3 of IPv6 (IANA, IPv6 Global Unicast Address Assignments).
  if (range === 'unicast' && (address.kind() === 'ipv4' || within(address, '2000::/3'))) return { isPublic: true };
  if (policy.allowedNetworks.some((network) => within(address, network))) return { isPublic: false };
  if (policy.allowPrivate && PRIVATE.has(range) && !METADATA.some((network) => within(address, network)))
    return { isPublic: false };
  return {
    isPublic: false,
    refusal: `${plain} is not an address of the public internet (${range === 'unicast' ? 'reserved' : range})`,
  };
}
