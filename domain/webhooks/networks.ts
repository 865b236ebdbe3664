import ipaddr from 'ipaddr.js';

/** Which addresses beyond the public ones polony may call. */
export interface NetworkPolicy {
  /** Private networks: RFC 1918, loopback, shared address space (RFC 6598) and unique local addresses. */
  allowPrivate: boolean;
  /** Networks in CIDR notation that may be called whatever they are. */
  allowedNetworks: readonly string[];
}

/** Ranges that `allowPrivate` opens, as ipaddr.js names them (IANA's special-purpose address registries). */
const PRIVATE = new Set(['private', 'loopback', 'carrierGradeNat', 'uniqueLocal']);
/** Where clouds answer with credentials, inside ranges that are private otherwise: AWS over IPv6, Alibaba Cloud. */
const METADATA = ['fd00:ec2::/32', '100.100.100.200/32'];

type Address = ipaddr.IPv4 | ipaddr.IPv6;

function within(address: Address, network: string): boolean {
  const [range, bits] = ipaddr.parseCIDR(network);
  return range.kind() === address.kind() && address.match(range, bits);
}

/** An address as it is reached: IPv4 that is written as IPv6 (mapped, RFC 4291; by NAT64, RFC 6052) is that IPv4 address. */
function reached(text: string): Address {
  // ipaddr.js takes the IPv4-compatible form (::8.8.8.8, deprecated by RFC 4291) for IPv4, which it is not reached by.
  const address = ipaddr.process(text.replace(/^::(?=\d+\.)/, '0:0:0:0:0:0:'));
  if (address.kind() === 'ipv6' && address.range() === 'rfc6052')
    return ipaddr.fromByteArray(address.toByteArray().slice(12));
  return address;
}

/** Whether a text is a network in CIDR notation. */
export function isNetwork(text: string): boolean {
  return ipaddr.isValidCIDR(text);
}

/** What an address is for who asks whether it may be called. */
export interface AddressVerdict {
  /** Whether it is an address of the public internet. */
  isPublic: boolean;
  /** Why it may not be called; undefined where it may. */
  refusal?: string;
}

/**
 * Whether polony may call an address. Public ones always; private ones where the policy says so; link-local (with the clouds' metadata
 * services), multicast and all that is reserved only where one of its networks names them.
 * @param text an IPv4 or IPv6 address as the resolver writes it, without brackets
 */
export function judgeAddress(text: string, policy: NetworkPolicy): AddressVerdict {
  const plain = text.replace(/%.*$/, '');
  if (!ipaddr.isValid(plain)) return { isPublic: false, refusal: `${text.slice(0, 60)} is no IP address` };
  const address = reached(plain);
  const range = address.range();
  // Of IPv6 only 2000::/3 is assigned to the internet (IANA, IPv6 Global Unicast Address Assignments).
  if (range === 'unicast' && (address.kind() === 'ipv4' || within(address, '2000::/3'))) return { isPublic: true };
  if (policy.allowedNetworks.some((network) => within(address, network))) return { isPublic: false };
  if (policy.allowPrivate && PRIVATE.has(range) && !METADATA.some((network) => within(address, network)))
    return { isPublic: false };
  return {
    isPublic: false,
    refusal: `${plain} is not an address of the public internet (${range === 'unicast' ? 'reserved' : range})`,
  };
}
