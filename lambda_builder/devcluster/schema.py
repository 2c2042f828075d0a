"""The fields a Job and a Lease may have and their types, one struct a paragraph.

Notation: ``[T]`` list, ``{T}`` map, ``any`` unchecked (rare volume plugins among them).
"""

from __future__ import annotations

TABLE = """
Namespace apiVersion:string kind:string metadata:ObjectMeta spec:any status:any
Event action:string apiVersion:string count:int32 eventTime:time firstTimestamp:time
    involvedObject:any kind:string lastTimestamp:time message:string metadata:ObjectMeta
    reason:string related:any reportingComponent:string reportingInstance:string series:any
    source:any type:string
Affinity nodeAffinity:NodeAffinity podAffinity:PodAffinity podAntiAffinity:PodAntiAffinity
AppArmorProfile localhostProfile:string type:string
CSIVolumeSource driver:string fsType:string nodePublishSecretRef:LocalObjectReference
    readOnly:bool volumeAttributes:{string}
Capabilities add:[string] drop:[string]
ClusterTrustBundleProjection labelSelector:LabelSelector name:string optional:bool path:string
    signerName:string
ConfigMapEnvSource name:string optional:bool
ConfigMapKeySelector key:string name:string optional:bool
ConfigMapProjection items:[KeyToPath] name:string optional:bool
ConfigMapVolumeSource defaultMode:int32 items:[KeyToPath] name:string optional:bool
Container args:[string] command:[string] env:[EnvVar] envFrom:[EnvFromSource] image:string
    imagePullPolicy:string lifecycle:Lifecycle livenessProbe:Probe name:string
    ports:[ContainerPort] readinessProbe:Probe resizePolicy:[ContainerResizePolicy]
    resources:ResourceRequirements restartPolicy:string restartPolicyRules:[ContainerRestartRule]
    securityContext:SecurityContext startupProbe:Probe stdin:bool stdinOnce:bool
    terminationMessagePath:string terminationMessagePolicy:string tty:bool
    volumeDevices:[VolumeDevice] volumeMounts:[VolumeMount] workingDir:string
ContainerPort containerPort:int32 hostIP:string hostPort:int32 name:string protocol:string
ContainerResizePolicy resourceName:string restartPolicy:string
ContainerRestartRule action:string exitCodes:ContainerRestartRuleOnExitCodes
ContainerRestartRuleOnExitCodes operator:string values:[int32]
DownwardAPIProjection items:[DownwardAPIVolumeFile]
DownwardAPIVolumeFile fieldRef:ObjectFieldSelector mode:int32 path:string
    resourceFieldRef:ResourceFieldSelector
DownwardAPIVolumeSource defaultMode:int32 items:[DownwardAPIVolumeFile]
EmptyDirVolumeSource medium:string sizeLimit:quantity
EnvFromSource configMapRef:ConfigMapEnvSource prefix:string secretRef:SecretEnvSource
EnvVar name:string value:string valueFrom:EnvVarSource
EnvVarSource configMapKeyRef:ConfigMapKeySelector fieldRef:ObjectFieldSelector
    fileKeyRef:FileKeySelector resourceFieldRef:ResourceFieldSelector
    secretKeyRef:SecretKeySelector
EphemeralContainer args:[string] command:[string] env:[EnvVar] envFrom:[EnvFromSource]
    image:string imagePullPolicy:string lifecycle:Lifecycle livenessProbe:Probe name:string
    ports:[ContainerPort] readinessProbe:Probe resizePolicy:[ContainerResizePolicy]
    resources:ResourceRequirements restartPolicy:string restartPolicyRules:[ContainerRestartRule]
    securityContext:SecurityContext startupProbe:Probe stdin:bool stdinOnce:bool
    targetContainerName:string terminationMessagePath:string terminationMessagePolicy:string
    tty:bool volumeDevices:[VolumeDevice] volumeMounts:[VolumeMount] workingDir:string
EphemeralVolumeSource volumeClaimTemplate:any
ExecAction command:[string]
FileKeySelector key:string optional:bool path:string volumeName:string
GRPCAction port:int32 service:string
HTTPGetAction host:string httpHeaders:[HTTPHeader] path:string port:intstr scheme:string
HTTPHeader name:string value:string
HostAlias hostnames:[string] ip:string
HostPathVolumeSource path:string type:string
ImageVolumeSource pullPolicy:string reference:string
Job apiVersion:string kind:string metadata:ObjectMeta spec:JobSpec status:any
JobSpec activeDeadlineSeconds:int64 backoffLimit:int32 backoffLimitPerIndex:int32
    completionMode:string completions:int32 managedBy:string manualSelector:bool
    maxFailedIndexes:int32 parallelism:int32 podFailurePolicy:PodFailurePolicy
    podReplacementPolicy:string selector:LabelSelector successPolicy:SuccessPolicy suspend:bool
    template:PodTemplateSpec ttlSecondsAfterFinished:int32
KeyToPath key:string mode:int32 path:string
LabelSelector matchExpressions:[LabelSelectorRequirement] matchLabels:{string}
LabelSelectorRequirement key:string operator:string values:[string]
Lease apiVersion:string kind:string metadata:ObjectMeta spec:LeaseSpec
LeaseSpec acquireTime:time holderIdentity:string leaseDurationSeconds:int32 leaseTransitions:int32
    preferredHolder:string renewTime:time strategy:string
Lifecycle postStart:LifecycleHandler preStop:LifecycleHandler stopSignal:string
LifecycleHandler exec:ExecAction httpGet:HTTPGetAction sleep:SleepAction tcpSocket:TCPSocketAction
LocalObjectReference name:string
NodeAffinity preferredDuringSchedulingIgnoredDuringExecution:[PreferredSchedulingTerm]
    requiredDuringSchedulingIgnoredDuringExecution:NodeSelector
NodeSelector nodeSelectorTerms:[NodeSelectorTerm]
NodeSelectorRequirement key:string operator:string values:[string]
NodeSelectorTerm matchExpressions:[NodeSelectorRequirement] matchFields:[NodeSelectorRequirement]
ObjectFieldSelector apiVersion:string fieldPath:string
ObjectMeta annotations:{string} creationTimestamp:time deletionGracePeriodSeconds:int64
    deletionTimestamp:time finalizers:[string] generateName:string generation:int64
    labels:{string} managedFields:[any] name:string namespace:string
    ownerReferences:[OwnerReference] resourceVersion:string selfLink:string uid:string
OwnerReference apiVersion:string blockOwnerDeletion:bool controller:bool kind:string name:string
    uid:string
PersistentVolumeClaimVolumeSource claimName:string readOnly:bool
PodAffinity preferredDuringSchedulingIgnoredDuringExecution:[WeightedPodAffinityTerm]
    requiredDuringSchedulingIgnoredDuringExecution:[PodAffinityTerm]
PodAffinityTerm labelSelector:LabelSelector matchLabelKeys:[string] mismatchLabelKeys:[string]
    namespaceSelector:LabelSelector namespaces:[string] topologyKey:string
PodAntiAffinity preferredDuringSchedulingIgnoredDuringExecution:[WeightedPodAffinityTerm]
    requiredDuringSchedulingIgnoredDuringExecution:[PodAffinityTerm]
PodCertificateProjection certificateChainPath:string credentialBundlePath:string keyPath:string
    keyType:string maxExpirationSeconds:int32 signerName:string userAnnotations:{string}
PodDNSConfig nameservers:[string] options:[PodDNSConfigOption] searches:[string]
PodDNSConfigOption name:string value:string
PodFailurePolicy rules:[PodFailurePolicyRule]
PodFailurePolicyOnExitCodesRequirement containerName:string operator:string values:[int32]
PodFailurePolicyOnPodConditionsPattern status:string type:string
PodFailurePolicyRule action:string onExitCodes:PodFailurePolicyOnExitCodesRequirement
    onPodConditions:[PodFailurePolicyOnPodConditionsPattern]
PodOS name:string
PodReadinessGate conditionType:string
PodResourceClaim name:string resourceClaimName:string resourceClaimTemplateName:string
PodSchedulingGate name:string
PodSchedulingGroup podGroupName:string
PodSecurityContext appArmorProfile:AppArmorProfile fsGroup:int64 fsGroupChangePolicy:string
    runAsGroup:int64 runAsNonRoot:bool runAsUser:int64 seLinuxChangePolicy:string
    seLinuxOptions:SELinuxOptions seccompProfile:SeccompProfile supplementalGroups:[int64]
    supplementalGroupsPolicy:string sysctls:[Sysctl] windowsOptions:any
PodSpec activeDeadlineSeconds:int64 affinity:Affinity automountServiceAccountToken:bool
    containers:[Container] dnsConfig:PodDNSConfig dnsPolicy:string enableServiceLinks:bool
    ephemeralContainers:[EphemeralContainer] hostAliases:[HostAlias] hostIPC:bool hostNetwork:bool
    hostPID:bool hostUsers:bool hostname:string hostnameOverride:string
    imagePullSecrets:[LocalObjectReference] initContainers:[Container] nodeName:string
    nodeSelector:{string} os:PodOS overhead:{quantity} preemptionPolicy:string priority:int32
    priorityClassName:string readinessGates:[PodReadinessGate] resourceClaims:[PodResourceClaim]
    resources:ResourceRequirements restartPolicy:string runtimeClassName:string
    schedulerName:string schedulingGates:[PodSchedulingGate] schedulingGroup:PodSchedulingGroup
    securityContext:PodSecurityContext serviceAccount:string serviceAccountName:string
    setHostnameAsFQDN:bool shareProcessNamespace:bool subdomain:string
    terminationGracePeriodSeconds:int64 tolerations:[Toleration]
    topologySpreadConstraints:[TopologySpreadConstraint] volumes:[Volume]
PodTemplateSpec metadata:ObjectMeta spec:PodSpec
PreferredSchedulingTerm preference:NodeSelectorTerm weight:int32
Probe exec:ExecAction failureThreshold:int32 grpc:GRPCAction httpGet:HTTPGetAction
    initialDelaySeconds:int32 periodSeconds:int32 successThreshold:int32 tcpSocket:TCPSocketAction
    terminationGracePeriodSeconds:int64 timeoutSeconds:int32
ProjectedVolumeSource defaultMode:int32 sources:[VolumeProjection]
ResourceClaim name:string request:string
ResourceFieldSelector containerName:string divisor:quantity resource:string
ResourceQuota apiVersion:string kind:string metadata:ObjectMeta spec:ResourceQuotaSpec
    status:ResourceQuotaStatus
ResourceQuotaSpec hard:{quantity} scopeSelector:any scopes:[string]
ResourceQuotaStatus hard:{quantity} used:{quantity}
ResourceRequirements claims:[ResourceClaim] limits:{quantity} requests:{quantity}
SELinuxOptions level:string role:string type:string user:string
SeccompProfile localhostProfile:string type:string
SecretEnvSource name:string optional:bool
SecretKeySelector key:string name:string optional:bool
SecretProjection items:[KeyToPath] name:string optional:bool
SecretVolumeSource defaultMode:int32 items:[KeyToPath] optional:bool secretName:string
SecurityContext allowPrivilegeEscalation:bool appArmorProfile:AppArmorProfile
    capabilities:Capabilities privileged:bool procMount:string readOnlyRootFilesystem:bool
    runAsGroup:int64 runAsNonRoot:bool runAsUser:int64 seLinuxOptions:SELinuxOptions
    seccompProfile:SeccompProfile windowsOptions:any
ServiceAccountTokenProjection audience:string expirationSeconds:int64 path:string
SleepAction seconds:int64
SuccessPolicy rules:[SuccessPolicyRule]
SuccessPolicyRule succeededCount:int32 succeededIndexes:string
Sysctl name:string value:string
TCPSocketAction host:string port:intstr
Toleration effect:string key:string operator:string tolerationSeconds:int64 value:string
TopologySpreadConstraint labelSelector:LabelSelector matchLabelKeys:[string] maxSkew:int32
    minDomains:int32 nodeAffinityPolicy:string nodeTaintsPolicy:string topologyKey:string
    whenUnsatisfiable:string
Volume awsElasticBlockStore:any azureDisk:any azureFile:any cephfs:any cinder:any
    configMap:ConfigMapVolumeSource csi:CSIVolumeSource downwardAPI:DownwardAPIVolumeSource
    emptyDir:EmptyDirVolumeSource ephemeral:EphemeralVolumeSource fc:any flexVolume:any
    flocker:any gcePersistentDisk:any gitRepo:any glusterfs:any hostPath:HostPathVolumeSource
    image:ImageVolumeSource iscsi:any name:string nfs:any
    persistentVolumeClaim:PersistentVolumeClaimVolumeSource photonPersistentDisk:any
    portworxVolume:any projected:ProjectedVolumeSource quobyte:any rbd:any scaleIO:any
    secret:SecretVolumeSource storageos:any vsphereVolume:any
VolumeDevice devicePath:string name:string
VolumeMount mountPath:string mountPropagation:string name:string readOnly:bool
    recursiveReadOnly:string subPath:string subPathExpr:string
VolumeProjection clusterTrustBundle:ClusterTrustBundleProjection configMap:ConfigMapProjection
    downwardAPI:DownwardAPIProjection podCertificate:PodCertificateProjection
    secret:SecretProjection serviceAccountToken:ServiceAccountTokenProjection
WeightedPodAffinityTerm podAffinityTerm:PodAffinityTerm weight:int32
"""
