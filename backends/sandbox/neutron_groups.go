package sandbox

import (
	"encoding/json"
	"net/http"
	"slices"
)

// netRule is a rule of a security group. Nothing enforces it: servers are processes of one computer.
type netRule struct {
	ID        string  `json:"id"`
	Group     string  `json:"security_group_id"`
	Direction string  `json:"direction"`
	Ethertype string  `json:"ethertype"`
	Protocol  *string `json:"protocol"`
	Min       *int    `json:"port_range_min"`
	Max       *int    `json:"port_range_max"`
	Prefix    *string `json:"remote_ip_prefix"`
	Remote    *string `json:"remote_group_id"`
}

func (s *Server) makeGroup(o *netObject, in *netRequest) *netError {
	o.Name, o.Description = in.Name, in.Description
	for _, e := range []string{"IPv4", "IPv6"} {
		o.Rules = append(o.Rules, &netRule{ID: randomID(), Group: o.ID, Direction: "egress", Ethertype: e})
	}
	return nil
}

func (s *Server) showGroup(o *netObject) map[string]any {
	return o.common(map[string]any{"security_group_rules": append([]*netRule{}, o.Rules...), "stateful": true, "shared": false})
}

func (s *Server) groupBusy(o *netObject) *netError {
	for _, v := range s.st.Servers {
		if slices.Contains(v.Groups, o.ID) {
			return netErrorf(http.StatusConflict, "SecurityGroupInUse", "Security Group %s in use.", o.ID)
		}
	}
	return nil
}

// makeRule is POST /security-group-rules.
func (s *Server) makeRule(r *http.Request) (int, any, *netError) {
	var in struct {
		Rule netRule `json:"security_group_rule"`
	}
	if err := read(r, &in); err != nil {
		return 0, nil, netErrorf(http.StatusBadRequest, "HTTPBadRequest", "%v", err)
	}
	g := s.st.Nets[in.Rule.Group]
	if g == nil || g.Kind != "security-groups" {
		return 0, nil, netErrorf(http.StatusNotFound, "SecurityGroupNotFound", "Security group %s does not exist", in.Rule.Group)
	}
	for _, there := range g.Rules {
		if same := *there; sameRule(same, in.Rule) {
			return 0, nil, netErrorf(http.StatusConflict, "SecurityGroupRuleExists", "Security group rule already exists. Rule id is %s.", there.ID)
		}
	}
	rule := in.Rule
	rule.ID = randomID()
	g.Rules = append(g.Rules, &rule)
	s.save()
	return http.StatusCreated, map[string]any{"security_group_rule": &rule}, nil
}

func sameRule(a, b netRule) bool {
	a.ID, b.ID = "", ""
	x, _ := json.Marshal(a) // cannot fail: texts and numbers
	y, _ := json.Marshal(b)
	return string(x) == string(y)
}
