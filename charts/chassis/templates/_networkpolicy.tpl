{{- /*
chassis.peerPods (list CONTEXT PEER): a NetworkPolicyPeer that selects the pods of the other service, of any release.
PEER is `peer` of chassis.facts.
*/ -}}
{{- define "chassis.peerPods" -}}
{{- $peer := index . 1 -}}
- podSelector:
    matchLabels:
      app.kubernetes.io/name: {{ $peer.name | quote }}
      app.kubernetes.io/part-of: tandem
  {{- with $peer.namespace }}
  {{- include "chassis.namespaceSelector" . | nindent 2 }}
  {{- end }}
{{- end }}

{{- /* chassis.namespaceSelector NAMESPACE: a selector for the namespace of that name */ -}}
{{- define "chassis.namespaceSelector" -}}
namespaceSelector:
  matchLabels:
    kubernetes.io/metadata.name: {{ . | quote }}
{{- end }}

{{- /* chassis.apiCallers: the NetworkPolicyPeers that may call the API, without those of networkPolicy.from */ -}}
{{- define "chassis.apiCallers" -}}
{{- if .Values.networkPolicy.anyNamespace -}}
- namespaceSelector: {}
{{- else -}}
{{ include "chassis.peerPods" (list . (include "chassis.facts" . | fromYaml).peer) }}
{{- if .Files.Get "files/test.py" }}
- podSelector:
    matchLabels:
      {{- include "chassis.selector" (list . "test") | nindent 6 }}
{{- end }}
{{- with .Values.networkPolicy.ingressNamespace }}
- {{- include "chassis.namespaceSelector" . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- /* chassis.servicePodSelector: a selector for the pods that use the database: server, publisher, migration and purge */ -}}
{{- define "chassis.servicePodSelector" -}}
matchLabels:
  app.kubernetes.io/name: {{ include "chassis.serviceName" . | quote }}
  app.kubernetes.io/instance: {{ .Release.Name | quote }}
matchExpressions:
  - {key: app.kubernetes.io/component, operator: In, values: [server, publisher, migrate, purge]}
{{- end }}

{{- /* chassis.databasePeers: the NetworkPolicyPeers of the database; empty if its address is not restricted */ -}}
{{- define "chassis.databasePeers" -}}
{{- if .Values.postgresql.enabled -}}
- podSelector:
    matchLabels:
      {{- include "chassis.selector" (list . "postgresql") | nindent 6 }}
{{- else if .Values.database.cloudNativePG -}}
- podSelector:
    matchLabels:
      cnpg.io/cluster: {{ .Values.database.cloudNativePG | quote }}
{{- else -}}
{{- with .Values.networkPolicy.database.to }}{{ toYaml . }}{{ end }}
{{- end }}
{{- end }}

{{- /* chassis.dnsEgress: the NetworkPolicyEgressRule for DNS. By default to any address: it may be a cache on the node. */ -}}
{{- define "chassis.dnsEgress" -}}
- ports: # DNS
    {{- range .Values.networkPolicy.dns.ports }}
    - {port: {{ . }}, protocol: UDP}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with .Values.networkPolicy.dns.to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- /* chassis.databaseEgress: the NetworkPolicyEgressRule for the database */ -}}
{{- define "chassis.databaseEgress" -}}
- ports:
    {{- range include "chassis.databasePorts" . | splitList "," }}
    - port: {{ . }}
    {{- end }}
  {{- with include "chassis.databasePeers" . }}
  to:
    {{- . | nindent 4 }}
  {{- end }}
{{- end }}

{{- /* chassis.databasePorts: the ports of the database, separated by commas */ -}}
{{- define "chassis.databasePorts" -}}
{{- $urls := compact (list .Values.database.url .Values.database.migrationUrl .Values.database.readUrl) -}}
{{- if or .Values.postgresql.enabled .Values.database.cloudNativePG -}}
5432
{{- else if .Values.networkPolicy.database.port -}}
{{ .Values.networkPolicy.database.port }}
{{- else if $urls -}}
{{ include "chassis.urlPorts" $urls }}
{{- else -}}
5432
{{- end -}}
{{- end }}

{{- /* chassis.urlPorts URLS: the ports in these database URLs, separated by commas. A URL may name several hosts. */ -}}
{{- define "chassis.urlPorts" -}}
{{- $ports := list -}}
{{- range $url := . -}}
{{- with regexFind "[?&]port=[0-9,]+" $url -}}
{{- $ports = concat $ports (splitList "," (regexReplaceAll "^.*=" . "")) -}}
{{- else -}}
{{- range $host := regexReplaceAll "^[^:]*://([^/?]*@)?([^/?]*).*$" $url "${2}" | splitList "," -}}
{{- $ports = append $ports (regexFind ":[0-9]+$" $host | trimPrefix ":" | default "5432") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{ join "," (uniq $ports) }}
{{- end }}

{{- /* chassis.urlPort URL: the port of the URL, or the default of its scheme: 443 for https, otherwise 80 */ -}}
{{- define "chassis.urlPort" -}}
{{- $url := urlParse . -}}
{{ regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "443" "80" (eq $url.scheme "https")) }}
{{- end }}

{{- /* chassis.internetPeers CIDRS: NetworkPolicyPeers for these networks; for an empty list, all public addresses */ -}}
{{- define "chassis.internetPeers" -}}
{{- range . }}
- ipBlock: {cidr: {{ . | quote }}}
{{- else }}
- ipBlock:
    cidr: 0.0.0.0/0
    except: # private and reserved networks, and the metadata services of clouds
      - 0.0.0.0/8
      - 10.0.0.0/8
      - 100.64.0.0/10
      - 127.0.0.0/8
      - 168.63.129.16/32
      - 169.254.0.0/16
      - 172.16.0.0/12
      - 192.0.0.0/24
      - 192.0.2.0/24
      - 192.88.99.0/24
      - 192.168.0.0/16
      - 198.18.0.0/15
      - 198.51.100.0/24
      - 203.0.113.0/24
      - 224.0.0.0/3
- ipBlock:
    cidr: 2000::/3 # does not contain fd00:ec2::254, the metadata service of AWS
    except: ["2001::/32", "2001:db8::/32", "2002::/16", "3fff::/20"]
{{- end }}
{{- end }}

{{- /* chassis.host URL: the host of the URL, without the brackets of an IPv6 address and without a dot at its end */ -}}
{{- define "chassis.host" -}}
{{- (urlParse .).host | regexFind "^(\\[[^]]*\\]|[^:]*)" | trimAll "[]" | trimSuffix "." -}}
{{- end }}

{{- /*
chassis.inCluster URL: "yes" if the host of the URL is the name of a Service, otherwise empty. A name of two labels is a
Service and its namespace with http, and a public host with https.
*/ -}}
{{- define "chassis.inCluster" -}}
{{- $host := include "chassis.host" . -}}
{{- $labels := $host | splitList "." | len -}}
{{- if not (contains ":" $host) -}}
{{- if or (regexMatch "\\.svc(\\.cluster\\.local)?$" $host) (eq $labels 1) (and (eq $labels 2) (hasPrefix "http://" .)) -}}yes{{- end -}}
{{- end -}}
{{- end }}

{{- /*
chassis.destinationPeers (list URL PEERS): the NetworkPolicyPeers behind a URL. Without PEERS, they are derived from its
host: an IP address, the pods of the namespace that the name of a Service contains, or else all public addresses.
*/ -}}
{{- define "chassis.destinationPeers" -}}
{{- $host := include "chassis.host" (index . 0) -}}
{{- $labels := $host | trimSuffix ".cluster.local" | trimSuffix ".svc" | splitList "." -}}
{{- $inCluster := include "chassis.inCluster" (index . 0) -}}
{{- if index . 1 -}}
{{ toYaml (index . 1) }}
{{- else if contains ":" $host -}}
- ipBlock: {cidr: "{{ $host }}/128"}
{{- else if regexMatch "^[0-9.]+$" $host -}}
- ipBlock: {cidr: {{ $host }}/32}
{{- else if and $inCluster (eq (len $labels) 1) -}}
- podSelector: {}
{{- else if $inCluster -}}
- {{- include "chassis.namespaceSelector" (last $labels) | nindent 2 }}
{{- else -}}
{{- include "chassis.internetPeers" list | trim -}}
{{- end -}}
{{- end }}

{{- /*
chassis.networkPolicy: if networkPolicy.enabled, the NetworkPolicy of the service's pods, and one of the embedded
database's pod if there is one.
*/ -}}
{{- define "chassis.networkPolicy" -}}
{{- if .Values.networkPolicy.enabled -}}
{{- $facts := include "chassis.facts" . | fromYaml -}}
{{- $postgresql := printf "%s-postgresql" (include "chassis.fullname" .) -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "chassis.metadata" (list . "server" (include "chassis.fullname" .)) | nindent 2 }}
spec:
  podSelector:
    {{- include "chassis.servicePodSelector" . | nindent 4 }}
  policyTypes: [Ingress, Egress]
  ingress:
    - ports:
        - port: http
      from:
        {{- include "chassis.apiCallers" . | nindent 8 }}
        {{- with .Values.networkPolicy.from }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- if $facts.operatorPort }}
    - ports:
        - port: operator
      from:
        - podSelector: {} # the pods of this namespace; a port-forward is not restricted
        {{- with .Values.operator.from }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- end }}
    - ports: # metrics and health
        - port: admin
      from:
        {{- with .Values.networkPolicy.monitoringNamespace }}
        - {{- include "chassis.namespaceSelector" . | nindent 10 }}
        {{- else }}
        - namespaceSelector: {}
        {{- end }}
  egress:
    {{- include "chassis.dnsEgress" . | nindent 4 }}
    - ports:
        - port: {{ $facts.peer.port }}
      to:
        {{- include "chassis.peerPods" (list . $facts.peer) | nindent 8 }}
    {{- include "chassis.databaseEgress" . | nindent 4 }}
    {{- with .Values.jwt.jwksUrl }}
    - ports: # {{ . }}
        - port: {{ include "chassis.urlPort" . }}
      to:
        {{- include "chassis.destinationPeers" (list . $.Values.networkPolicy.jwks.to) | nindent 8 }}
    {{- end }}
    {{- with .Values.tracing.endpoint }}
    - ports: # {{ . }}
        - port: {{ include "chassis.urlPort" . }}
      to:
        {{- include "chassis.destinationPeers" (list . $.Values.networkPolicy.tracing.to) | nindent 8 }}
    {{- end }}
    {{- with .Values.proxy.url }}
    - ports: # {{ . }}
        - port: {{ include "chassis.urlPort" . }}
      to:
        {{- include "chassis.destinationPeers" (list . $.Values.networkPolicy.proxy.to) | nindent 8 }}
    {{- end }}
    {{- range $facts.egress }}
    - ports:
        {{- range .ports }}
        - port: {{ . }}
        {{- end }}
      to:
        {{- include "chassis.internetPeers" .cidrs | nindent 8 }}
    {{- end }}
    {{- with .Values.networkPolicy.egress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- if .Files.Get "files/test.py" }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "chassis.metadata" (list . "test" (printf "%s-test" (include "chassis.fullname" .))) | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "chassis.selector" (list . "test") | nindent 6 }}
  policyTypes: [Ingress, Egress]
  egress:
    {{- include "chassis.dnsEgress" . | nindent 4 }}
    - ports:
        - port: http
      to:
        - podSelector:
            matchLabels:
              {{- include "chassis.selector" (list . "server") | nindent 14 }}
    - ports:
        - port: {{ $facts.peer.port }}
      to:
        {{- include "chassis.peerPods" (list . $facts.peer) | nindent 8 }}
{{- end }}
{{- if .Values.postgresql.enabled }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "chassis.metadata" (list . "postgresql" $postgresql) | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "chassis.selector" (list . "postgresql") | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    - ports:
        - port: postgresql
      from:
        - podSelector:
            {{- include "chassis.servicePodSelector" . | nindent 12 }}
{{- end }}
{{- end }}
{{- end }}
