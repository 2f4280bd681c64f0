package network

import "github.com/univirt/univirt/resource"

// The features that a provider declares for networks.
const (
	// FeatureNetworks is the whole of the Networks interface.
	FeatureNetworks resource.Feature = "networks"
	// FeatureIPv4 and FeatureIPv6 are the address families of subnets.
	FeatureIPv4 resource.Feature = "networks.ipv4"
	FeatureIPv6 resource.Feature = "networks.ipv6"
	// FeatureNAT, FeatureRouted and FeatureBridged are the values of External.
	FeatureNAT     resource.Feature = "networks.nat"
	FeatureRouted  resource.Feature = "networks.routed"
	FeatureBridged resource.Feature = "networks.bridged"
	// FeatureDNS says that instances find each other by name.
	FeatureDNS resource.Feature = "networks.dns"
	// FeatureDHCP says that Subnet.DHCP works: a guest that asks is given the
	// address that the network has assigned to its endpoint.
	FeatureDHCP resource.Feature = "networks.dhcp"
	// FeatureStableAddress says that an address lasts from Create to Delete.
	FeatureStableAddress resource.Feature = "networks.address.stable"
	// FeatureFixedAddress says that addresses and MACs can be chosen.
	FeatureFixedAddress resource.Feature = "networks.address.fixed"
	// FeatureReserve says that Reserve works for instances of other providers: the
	// endpoint has its addresses, and its names are found.
	FeatureReserve resource.Feature = "networks.reserve"
	// FeaturePublish says that ports can be published on the host.
	FeaturePublish resource.Feature = "networks.publish"
	// FeatureMTU says that the MTU can be chosen.
	FeatureMTU resource.Feature = "networks.mtu"
)

// Features lists every feature that this package defines.
func Features() []resource.Feature {
	return []resource.Feature{
		FeatureNetworks, FeatureIPv4, FeatureIPv6, FeatureNAT, FeatureRouted, FeatureBridged,
		FeatureDNS, FeatureDHCP, FeatureStableAddress, FeatureFixedAddress, FeatureReserve,
		FeaturePublish, FeatureMTU,
	}
}
