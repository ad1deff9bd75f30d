
# Packages for dnf, of what Debian's contain.
cd /root || exit
apt-get update -q
mkdir -p debs/partial repo
apt-get -q -y -o Dir::Cache::archives=/root/debs --no-install-recommends --download-only install \
    haproxy keepalived iptables conntrack chrony
for deb in debs/*.deb; do dpkg-deb -f "$deb" Package; done >names
build() { # name version files-root requires extra
    rm -rf build
    mkdir -p build
    cat >build/spec <<END
%global __os_install_post %{nil}
%global debug_package %{nil}
Name: $1
Version: $2
Release: 1.el9
Summary: $1, of what Debian's package contains
License: as Debian has it
AutoReqProv: no
$4
%description
Made on the spot for a throwaway host of kubeup.
%install
cp -a $3/. %{buildroot}/
%files -f /root/build/files
$5
END
    (cd "$3" && find . \( -type f -o -type l \) | sed 's|^\.|"|; s|$|"|') >build/files
    rpmbuild -bb --quiet --define "_topdir /root/build" --define "_rpmdir /root/repo" build/spec >/dev/null 2>build/log ||
        { cat build/log; exit 1; }
}
for deb in debs/*.deb; do
    name=$(dpkg-deb -f "$deb" Package)
    version=$(dpkg-deb -f "$deb" Version | sed 's/^[0-9]*://; s/-[^-]*$//; s/[^A-Za-z0-9.]/./g')
    rm -rf tree
    dpkg-deb -x "$deb" tree
    for top in bin sbin lib; do # as the host has it: these are links into /usr
        if [ -d tree/$top ] && [ ! -L tree/$top ]; then mkdir -p tree/usr/$top; cp -a tree/$top/. tree/usr/$top/; rm -rf tree/${top:?}; fi
    done
    requires=$(dpkg-deb -f "$deb" Depends | tr -s ',|' '\n' | awk '{print $1}' | grep -xFf names | sort -u | sed 's/^/Requires: /')
    scripts='%post
ldconfig'
    case $name in
    iptables) # as it is called there, with the links that Debian makes when it is installed
        name=iptables-nft
        requires="$requires
Provides: iptables"
        for tool in iptables ip6tables; do for end in '' -save -restore; do ln -sf $tool-nft$end tree/usr/sbin/$tool$end; done; done ;;
    haproxy) scripts='%pre
getent passwd haproxy >/dev/null || useradd --system --no-create-home --home-dir /var/lib/haproxy --shell /usr/sbin/nologin haproxy
%post
systemctl daemon-reload >/dev/null 2>&1 || :' ;;
    chrony) scripts='%pre
getent passwd _chrony >/dev/null || useradd --system --no-create-home --home-dir /var/lib/chrony --shell /usr/sbin/nologin _chrony' ;;
    esac
    build "$name" "$version" /root/tree "$requires" "$scripts"
done
mkdir -p base/etc
echo 'Rocky Linux release 9 (a stand-in of kubeup)' >base/etc/rocky-release
build lab-base 9 /root/base "Provides: /bin/sh
Provides: system-release = 9
Provides: system-release(releasever) = 9
Provides: config(system-release)" ""
mkdir -p /var/lib/lab-repository /etc/yum.repos.d /etc/dnf/vars
find repo -name '*.rpm' -exec mv {} /var/lib/lab-repository/ \;
createrepo_c --quiet /var/lib/lab-repository
printf '[lab]\nname=Packages made for this host\nbaseurl=file:///var/lib/lab-repository\nenabled=1\ngpgcheck=0\n' >/etc/yum.repos.d/lab.repo
echo 9 >/etc/dnf/vars/releasever
dnf -y -q install lab-base
cat >/etc/os-release.rocky <<'END'
NAME="Rocky Linux"
VERSION="9.4"
ID="rocky"
ID_LIKE="rhel centos fedora"
VERSION_ID="9.4"
PLATFORM_ID="platform:el9"
PRETTY_NAME="Rocky Linux 9.4 (stand-in of kubeup's lab)"
END
rm -f /etc/os-release
mv /etc/os-release.rocky /etc/os-release
rm -rf /root/debs /root/repo /root/build /root/base /root/tree /root/names /root/rpmbuild

# There is no apt here.
apt-get clean
rm -rf /var/lib/apt/lists/*
mkdir -p /usr/lib/lab-debian
for tool in apt apt-get apt-cache apt-config apt-mark dpkg dpkg-query dpkg-deb; do mv /usr/bin/$tool /usr/lib/lab-debian/; done
systemctl enable --quiet firewalld
