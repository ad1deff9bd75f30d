module kubeup.invalid/flannel

go 1.26.0

require github.com/flannel-io/flannel v0.28.4
require github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common v1.3.81
